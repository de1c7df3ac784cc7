package proctest

import (
	"io"
	"os/exec"
	"regexp"
	"syscall"
	"time"
)

// Patience bounds the wait of a test for an event that should come soon. It is generous,
// as machines that run tests are busy; tests of how soon something happens have bounds of
// their own.
const Patience = 60 * time.Second

// TB is the part of testing.TB that is used here; so programs other than tests do not
// link that package.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A Test is a program that a test has started. It ends with the test at the latest, and
// what is wrong with it fails the test.
type Test struct {
	*Process
	t TB
}

// ForTest starts cmd for a test. If the test fails, it shows what the program wrote last.
func ForTest(t TB, label string, cmd *exec.Cmd) *Test {
	t.Helper()
	process, err := Start(label, cmd)
	if err != nil {
		t.Fatalf("%v", err)
	}
	p := &Test{process, t}
	t.Cleanup(func() {
		select {
		case <-p.Ended:
		default:
			p.Stop(syscall.SIGTERM)
		}
		if t.Failed() {
			t.Logf("%s", p.Report())
		}
	})
	return p
}

// Signal sends the program a signal, if it has not ended yet.
func (p *Test) Signal(signal syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		p.t.Errorf("%v", err)
	}
}

// Stop sends the program a signal and waits until it has ended.
func (p *Test) Stop(signal syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Stop(signal); err != nil {
		p.t.Errorf("%v", err)
	}
}

// Kill ends the program at once, as a function's host does that takes the function away:
// started under boxer, the program and its supervisor go without a word to anybody.
func (p *Test) Kill() {
	p.t.Helper()
	p.Stop(syscall.SIGKILL)
}

// Wait waits for the end of the program and returns its status as a shell has it.
func (p *Test) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Ended:
	case <-time.After(limit):
		p.t.Fatalf("%s: still there after %v", p.Label, limit)
	}
	status, err := p.Status()
	if err != nil {
		p.t.Fatalf("%v", err)
	}
	return status
}

// Say writes a line to the program's standard input.
func (p *Test) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Stdin, line+"\n"); err != nil {
		p.t.Fatalf("%s: write to standard input: %v", p.Label, err)
	}
}

// Expect waits for a line on standard output that matches the pattern and returns the
// pattern's groups, the whole match first. The line may have been there before, but is
// not found twice.
func (p *Test) Expect(pattern string) []string {
	p.t.Helper()
	return p.expect(p.Out, pattern)
}

// ExpectLog is Expect for standard error.
func (p *Test) ExpectLog(pattern string) []string {
	p.t.Helper()
	return p.expect(p.Err, pattern)
}

func (p *Test) expect(o *Output, pattern string) []string {
	p.t.Helper()
	match, err := o.Within(Patience, regexp.MustCompile("(?m)"+pattern))
	if err != nil {
		p.t.Fatalf("%s: no line %q: %v", p.Label, pattern, err)
	}
	return match
}
