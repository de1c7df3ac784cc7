package main

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	p, err := startProcess("sh", machine{}.command(t.Context(), "sh", "-c", "echo ready; echo again; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"ready", "again", "r[e]ady"} {
		if got, err := p.await(t.Context(), regexp.MustCompile(pattern)); err != nil || got == "" {
			t.Errorf("%s: got %q, %v", pattern, got, err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.await(short, regexp.MustCompile("never")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	p.stop()
	if _, err := p.await(t.Context(), regexp.MustCompile("never")); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("got %v, want an error with the output", err)
	}
}

func TestOutputOfEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("as planned")
	cancel(why)
	if _, err := outputOf(ctx, "sleep", machine{}.command(ctx, "sleep", "1000")); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	var exit *exec.ExitError
	_, err := outputOf(t.Context(), "sh", machine{}.command(t.Context(), "sh", "-c", "echo said >&2; exit 3"))
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "said") {
		t.Errorf("got %v, want status 3 and what it said", err)
	}
}

func TestTailIsShortAndKeepsTheSecret(t *testing.T) {
	got := tail(strings.Repeat("line\n", 100) + "join boxer://secret@host:1?pin=x\nlast\n")
	if strings.Contains(got, "secret") || !strings.HasSuffix(got, "\nlast") || strings.Count(got, "\n") != tailLines-1 {
		t.Errorf("got %q", got)
	}
}
