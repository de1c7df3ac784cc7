package examples

import (
	"errors"
	"fmt"
	"io"
	"os"
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
	// run tests are busy.
	patience = 60 * time.Second
	// stopPatience bounds the wait for the end of a program that was asked to end.
	stopPatience = 20 * time.Second
	// shownLines is how much of a program's output a failing test shows.
	shownLines = 40
	// shownWidth is how much of a line, in bytes: etcd, for one, writes long ones.
	shownWidth = 300
)

// A process is a program that a test has started. It ends with the test at the latest.
type process struct {
	t     *testing.T
	label string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu      sync.Mutex
	text    []byte        // what it wrote to standard output and standard error
	read    int           // where expect goes on
	changed chan struct{} // closed, and replaced, at each change
}

// start starts cmd and sees to its end. The label stands for it in messages.
func start(t *testing.T, label string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, label: label, cmd: cmd, ended: make(chan struct{}), changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	cmd.WaitDelay = stopPatience // children may hold the pipe after its end
	var err error
	if p.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	go func() {
		_ = cmd.Wait() // its result is in cmd.ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		if !p.end(syscall.SIGTERM) {
			t.Errorf("%s: still there %v after SIGTERM", label, stopPatience)
			p.end(syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("%s: %v\n%s", label, cmd.ProcessState, p.tail())
		}
	})
	return p
}

// Write takes what the program writes. It implements io.Writer.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b...)
	close(p.changed)
	p.changed = make(chan struct{})
	return len(b), nil
}

// end sends a signal, if the program has not ended yet, and says whether it has ended soon after.
func (p *process) end(signal syscall.Signal) bool {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%s: %v: %v", p.label, signal, err)
	}
	select {
	case <-p.ended:
		return true
	case <-time.After(stopPatience):
		return false
	}
}

// kill ends the program at once, as a function's host does that takes the function away: started under boxer, the
// program and its supervisor go without a word to anybody.
func (p *process) kill() {
	p.t.Helper()
	if !p.end(syscall.SIGKILL) {
		p.t.Fatalf("%s: still there %v after SIGKILL", p.label, stopPatience)
	}
}

// say writes a line to the program's standard input.
func (p *process) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("%s: write to standard input: %v", p.label, err)
	}
}

// expect waits for a line that matches the pattern and returns the pattern's groups, the whole match
// first. The line may have been there before, but is not found twice.
func (p *process) expect(pattern string) []string {
	p.t.Helper()
	match, err := p.next(regexp.MustCompile("(?m)" + pattern))
	if err != nil {
		p.t.Fatalf("%s: no line %q: %v", p.label, pattern, err)
	}
	return match
}

// passOver makes expect look at nothing that was written so far.
func (p *process) passOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read = len(p.text)
}

// next waits for a match in what expect has not passed yet.
func (p *process) next(pattern *regexp.Regexp) ([]string, error) {
	deadline := time.After(patience)
	for over := false; ; {
		p.mu.Lock()
		rest, changed := p.text[p.read:], p.changed
		if at := pattern.FindSubmatchIndex(rest); at != nil {
			p.read += at[1]
			p.mu.Unlock()
			match := make([]string, len(at)/2)
			for i := range match {
				if at[2*i] >= 0 {
					match[i] = string(rest[at[2*i]:at[2*i+1]])
				}
			}
			return match, nil
		}
		p.mu.Unlock()
		if over {
			return nil, errors.New("the program has ended")
		}
		select {
		case <-changed:
		case <-p.ended:
			over = true
		case <-deadline:
			return nil, fmt.Errorf("none in %v", patience)
		}
	}
}

// tail returns the last lines of what the program wrote.
func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(string(p.text), "\n")
	lines = lines[max(0, len(lines)-shownLines):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), shownWidth)]
	}
	return strings.Join(lines, "\n")
}

// eventually calls f until it returns no error, and returns how long that took.
func eventually(t *testing.T, what string, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began).Round(time.Millisecond)
		}
		if time.Since(began) > patience {
			t.Fatalf("%s: not in %v: %v", what, patience, err)
		}
		time.Sleep(100 * time.Millisecond) // between two looks: programs of others announce no events
	}
}
