package proctest

import (
	"io"
	"os/exec"
	"regexp"
	"syscall"
	"time"
)

// Patience bounds how long a test waits for an event that should occur soon. It is
// generous, because machines that run tests are busy. Tests that check how soon something
// happens have their own bounds.
const Patience = 60 * time.Second

// TB is the part of testing.TB that this package uses. It keeps programs that are not
// tests from linking package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A Test is a program that a test has started. It ends with the test at the latest. Its
// errors fail the test.
type Test struct {
	*Process
	t TB
}

// ForTest starts cmd for a test. If the test fails, it logs the last lines that the
// program wrote.
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

// Kill ends the program at once, as a host does when it removes a function. If boxer runs
// the program, the program and its supervisor end without telling the other nodes.
func (p *Test) Kill() {
	p.t.Helper()
	p.Stop(syscall.SIGKILL)
}

// Wait waits for the end of the program and returns its status as a shell reports it.
func (p *Test) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Ended:
	case <-time.After(limit):
		p.t.Fatalf("%s: still running after %v", p.Label, limit)
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
// pattern's groups, the whole match first. The line may have been written before the
// call, but each line matches only once.
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
