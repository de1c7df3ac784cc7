package proctest

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExpect(t *testing.T) {
	p := ForTest(t, "sh", exec.Command("sh", "-c",
		"echo a 1; echo a 2; echo log >&2; read line; echo got $line; exit 7"))
	for _, want := range []string{"1", "2"} { // in turn: no line is found twice
		if m := p.Expect(`^a (\d)$`); m[1] != want {
			t.Errorf("got %q, want %s", m, want)
		}
	}
	p.ExpectLog(`^log$`)
	p.Say("words")
	p.Expect(`^got words$`)
	if status := p.Wait(Patience); status != 7 {
		t.Errorf("status %d, want 7", status)
	}
	if _, err := p.Out.Within(Patience, regexp.MustCompile("more")); err == nil ||
		!strings.Contains(err.Error(), "ended") {
		t.Errorf("got %v, want that the program has ended", err)
	}
	if report := p.Report(); !strings.Contains(report, "exit status 7") ||
		!strings.Contains(report, "got words") {
		t.Errorf("the report is %s", report)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	why := errors.New("as planned")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := NewOutput().Next(ctx, regexp.MustCompile("x")); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	if _, err := NewOutput().Within(time.Millisecond,
		regexp.MustCompile("x")); err == nil {
		t.Error("there is an x in nothing")
	}
}

func TestStop(t *testing.T) {
	p, err := Start("sh", exec.Command("sh", "-c", "echo ready; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Out.Within(Patience, regexp.MustCompile("ready")); err != nil {
		t.Error(err)
	}
	if err := p.Stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if status, err := p.Status(); status != 128+int(syscall.SIGTERM) || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if err := p.Stop(syscall.SIGTERM); err != nil { // it has ended: nothing to do
		t.Error(err)
	}
	if _, err := Start("nothing", exec.Command("/no/such/program")); err == nil ||
		!strings.Contains(err.Error(), "nothing") {
		t.Errorf("start of no program: %v", err)
	}
}

func TestTailIsShortAndKeepsTheSecret(t *testing.T) {
	got := Tail(strings.Repeat("line\n", 100) + "join boxer://secret@host:1?pin=x\n" +
		strings.Repeat("x", 1000) + "\nlast\n")
	if strings.Contains(got, "secret") || !strings.HasSuffix(got, "\nlast\n") ||
		strings.Count(got, "\n") != shownLines+1 ||
		strings.Contains(got, strings.Repeat("x", shownWidth+1)) {
		t.Errorf("got %q", got)
	}
	if got := Tail("one\ntwo"); got != "one\ntwo" {
		t.Errorf("got %q", got)
	}
}
