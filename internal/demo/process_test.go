package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestOutputOfEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("as planned")
	cancel(why)
	if _, err := outputOf(ctx, "sleep", machine{}.command(ctx, "sleep",
		"1000")); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	var exit *exec.ExitError
	_, err := outputOf(t.Context(), "sh",
		machine{}.command(t.Context(), "sh", "-c", "echo said >&2; exit 3"))
	if !errors.As(err, &exit) || exit.ExitCode() != 3 ||
		!strings.Contains(err.Error(), "said") {
		t.Errorf("got %v, want status 3 and what it said", err)
	}
}
