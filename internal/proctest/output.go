package proctest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// shownLines bounds the lines of a program's output in an error report.
	shownLines = 60
	// shownWidth bounds a line, in bytes. Some programs, such as etcd, write long lines.
	shownWidth = 300
)

// An Output collects what a program writes, for goroutines that wait for a line.
type Output struct {
	mu      sync.Mutex // guards the fields below
	text    []byte
	read    int           // offset at which Next continues
	closed  bool          // the program has ended
	changed chan struct{} // closed, and replaced, at each change
}

// NewOutput returns an empty Output.
func NewOutput() *Output { return &Output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	o.changeLocked()
	return len(b), nil
}

// End marks the end of the output.
func (o *Output) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.changeLocked()
}

func (o *Output) changeLocked() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// Next waits for a match in the output after the previous match, and returns the
// pattern's groups, the whole match first. Patterns should begin with (?m). Otherwise ^
// and $ match only the start and the end of the whole output. Next fails with the cause
// of ctx when ctx ends, and when the program has ended.
func (o *Output) Next(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		match, changed, err := o.look(pattern)
		if match != nil || err != nil {
			return match, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Within is Next with a time limit.
func (o *Output) Within(limit time.Duration, pattern *regexp.Regexp) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit,
		fmt.Errorf("none in %v", limit))
	defer cancel()
	return o.Next(ctx, pattern)
}

// look returns a match if there is one. Otherwise it returns a channel that is closed at
// the next change.
func (o *Output) look(pattern *regexp.Regexp) ([]string, <-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rest := string(o.text[o.read:])
	if match := pattern.FindStringSubmatch(rest); match != nil {
		o.read += pattern.FindStringIndex(rest)[1]
		return match, nil, nil
	}
	if o.closed {
		return nil, nil, errors.New("the program has ended")
	}
	return nil, o.changed, nil
}

// PassOver makes Next ignore everything that was written so far.
func (o *Output) PassOver() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read = len(o.text)
}

// String returns everything that was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// Tail returns the last lines: see the function Tail.
func (o *Output) Tail() string { return Tail(o.String()) }

// Tail returns the last lines of a text, cut to a readable width. It replaces lines with
// a join URL, which is secret.
func Tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	var b strings.Builder
	if cut := len(lines) - 1 - shownLines; cut > 0 {
		fmt.Fprintf(&b, "... %d lines before\n", cut)
		lines = lines[cut:]
	}
	for _, line := range lines {
		switch {
		case strings.Contains(line, "boxer://"):
			line = "(a line with a join URL)\n"
		case len(line) > shownWidth:
			line = line[:shownWidth] + "...\n"
		}
		b.WriteString(line)
	}
	return b.String()
}
