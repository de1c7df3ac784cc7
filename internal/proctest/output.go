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
	// shownLines is how much of a program's output is shown when something goes wrong.
	shownLines = 60
	// shownWidth is how much of a line, in bytes: etcd, for one, writes long ones.
	shownWidth = 300
)

// An Output collects what a program writes, for those who wait for a line of it.
type Output struct {
	mu      sync.Mutex // guards what follows
	text    []byte
	read    int           // where Next goes on
	closed  bool          // the program has ended
	changed chan struct{} // closed, and replaced, at each change
}

// NewOutput returns an empty one.
func NewOutput() *Output { return &Output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	o.changeLocked()
	return len(b), nil
}

// End says that nothing more will come.
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

// Next waits for a match in what was written after the last one, and returns the
// pattern's groups, the whole match first. Patterns should begin with (?m), or ^ and $
// are the ends of all that is there. It fails when ctx ends, with its cause, or when the
// program has ended.
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

// Within is Next with a limit of time.
func (o *Output) Within(limit time.Duration, pattern *regexp.Regexp) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit,
		fmt.Errorf("none in %v", limit))
	defer cancel()
	return o.Next(ctx, pattern)
}

// look returns a match if there is one, or what is closed at the next change.
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

// PassOver makes Next look at nothing that was written so far.
func (o *Output) PassOver() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read = len(o.text)
}

// String returns all that was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// Tail returns the last lines, see the function of that name.
func (o *Output) Tail() string { return Tail(o.String()) }

// Tail returns the last lines of a text, cut to a readable width, without those that have
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
