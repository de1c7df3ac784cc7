package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds the wait for an event that should come soon. It is generous, as machines that
	// run tests are busy; tests of how soon something happens have bounds of their own.
	patience = 60 * time.Second
	// stopPatience bounds the wait for the end of a program that was asked to end.
	stopPatience = 15 * time.Second
	// shownLines is how much of a program's output a failing test shows.
	shownLines = 60
)

// A process is a program that a test has started. It ends with the test at the latest.
type process struct {
	t     *testing.T
	label string
	cmd   *exec.Cmd
	out   *output // standard output
	err   *output // standard error
	stdin io.WriteCloser
	began time.Time

	ended  chan struct{}
	took   time.Duration // valid after ended
	result error         // of cmd.Wait; valid after ended
}

// start starts cmd and sees to its end. The label stands for it in messages.
func start(t *testing.T, label string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, label: label, cmd: cmd, out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.err
	}
	if cmd.Stdin == nil {
		var err error
		if p.stdin, err = cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	// The end of the program does not end its children, which may hold the other end of a pipe.
	cmd.WaitDelay = stopPatience
	p.began = time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	go func() {
		p.result = cmd.Wait()
		p.took = time.Since(p.began)
		p.out.end()
		p.err.end()
		close(p.ended)
	}()
	t.Cleanup(p.cleanup)
	return p
}

// cleanup ends the program and shows what it said if the test failed.
func (p *process) cleanup() {
	select {
	case <-p.ended:
	default:
		p.stop(syscall.SIGTERM)
	}
	if p.t.Failed() {
		p.t.Logf("%s: %v after %v\n--- stdout\n%s--- stderr\n%s", p.label, p.cmd.ProcessState, p.took.Round(time.Millisecond), p.out.tail(), p.err.tail())
	}
}

// stop asks the program to end and waits until it has; if it does not, the test fails.
func (p *process) stop(signal syscall.Signal) {
	p.t.Helper()
	p.signal(signal)
	select {
	case <-p.ended:
	case <-time.After(stopPatience):
		p.t.Errorf("%s: still there %v after signal %v", p.label, stopPatience, signal)
		p.kill()
	}
}

// kill ends the program at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

func (p *process) signal(signal syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, syscall.ESRCH) && !strings.Contains(err.Error(), "finished") {
		p.t.Errorf("%s: signal %v: %v", p.label, signal, err)
	}
}

// wait waits for the end of the program and returns its status as a shell has it.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.t.Fatalf("%s: still there after %v", p.label, limit)
	}
	var exit *exec.ExitError
	if p.result != nil && !errors.As(p.result, &exit) {
		p.t.Fatalf("%s: %v", p.label, p.result)
	}
	ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// say writes a line to the program's standard input.
func (p *process) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("%s: write to standard input: %v", p.label, err)
	}
}

// expect waits for a line on standard output that matches the pattern and returns the pattern's groups, the
// whole match first. The line may have been there before, but is not found twice.
func (p *process) expect(pattern string) []string {
	p.t.Helper()
	return p.expectOn(p.out, pattern, patience)
}

// expectLog is expect for standard error.
func (p *process) expectLog(pattern string) []string {
	p.t.Helper()
	return p.expectOn(p.err, pattern, patience)
}

func (p *process) expectOn(o *output, pattern string, limit time.Duration) []string {
	p.t.Helper()
	match, err := o.next(regexp.MustCompile("(?m)"+pattern), limit)
	if err != nil {
		p.t.Fatalf("%s: no line %q: %v", p.label, pattern, err)
	}
	return match
}

// An output collects what a program writes, for those who wait for a line of it.
type output struct {
	mu      sync.Mutex
	text    []byte
	read    int           // where next goes on
	closed  bool          // the program has ended
	changed chan struct{} // closed, and replaced, at each change
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	o.changeLocked()
	return len(b), nil
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changeLocked()
}

func (o *output) changeLocked() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// next waits for a match in what was not read yet.
func (o *output) next(pattern *regexp.Regexp, limit time.Duration) ([]string, error) {
	deadline := time.After(limit)
	for {
		o.mu.Lock()
		rest, changed, closed := o.text[o.read:], o.changed, o.closed
		if at := pattern.FindSubmatchIndex(rest); at != nil {
			var match []string
			for i := 0; i < len(at); i += 2 {
				if at[i] < 0 {
					match = append(match, "")
					continue
				}
				match = append(match, string(rest[at[i]:at[i+1]]))
			}
			o.read += at[1]
			o.mu.Unlock()
			return match, nil
		}
		o.mu.Unlock()
		if closed {
			return nil, errors.New("the program has ended")
		}
		select {
		case <-changed:
		case <-deadline:
			return nil, fmt.Errorf("none in %v", limit)
		}
	}
}

// String returns all that was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// tail returns the last lines.
func (o *output) tail() string {
	lines := bytes.SplitAfter([]byte(o.String()), []byte("\n"))
	if cut := len(lines) - shownLines; cut > 0 {
		return fmt.Sprintf("... %d lines before\n%s", cut, bytes.Join(lines[cut:], nil))
	}
	return string(bytes.Join(lines, nil))
}

// fields splits text at white space after replacing pairs of old and new in each part.
func fields(text string, oldnew ...string) []string {
	parts := strings.Fields(text)
	for i := range parts {
		parts[i] = strings.NewReplacer(oldnew...).Replace(parts[i])
	}
	return parts
}
