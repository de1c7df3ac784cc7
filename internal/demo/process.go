package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A process runs in the background; its output is kept.
type process struct {
	name   string
	cmd    *exec.Cmd
	output output
	done   chan struct{} // closed when it has ended
	err    error         // how; valid then
}

// stopTimeout bounds how long a process may take to end when asked.
const stopTimeout = 10 * time.Second

// startProcess starts cmd, which a machine has made.
func startProcess(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// stop interrupts the process and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// await waits until the process has written what pattern matches, and returns the match.
func (p *process) await(ctx context.Context, pattern *regexp.Regexp) (string, error) {
	for {
		found, changed := p.output.find(pattern)
		if found != "" {
			return found, nil
		}
		select {
		case <-changed:
		case <-p.done:
			return "", fmt.Errorf("%s ended: %w: %s", p.name, orEnded(p.err), tail(p.output.String()))
		case <-ctx.Done():
			return "", fmt.Errorf("%s: %w: %s", p.name, context.Cause(ctx), tail(p.output.String()))
		}
	}
}

// orEnded returns err, or that there was none.
func orEnded(err error) error {
	if err == nil {
		return errors.New("status 0")
	}
	return err
}

// output holds what a process has written.
type output struct {
	mu      sync.Mutex // guards what follows
	text    bytes.Buffer
	changed chan struct{} // nil until somebody waits, closed on the next write
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(b)
}

// String returns all that was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// find returns what pattern matches of what was written, and a channel that tells of the next write.
func (o *output) find(pattern *regexp.Regexp) (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return pattern.FindString(o.text.String()), o.changed
}

// tailLines is how much of a process's output an error shows.
const tailLines = 10

// tail returns the last lines of a text, without those that have a join URL, which is secret.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, line := range lines {
		if strings.Contains(line, "boxer://") {
			lines[i] = "(a line with a join URL)"
		}
	}
	return strings.Join(lines, "\n")
}

// outputOf runs cmd to its end and returns what it wrote to stdout. Errors begin with name.
func outputOf(ctx context.Context, name string, cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s: %w: %s", name, err, tail(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}
