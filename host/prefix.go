package host

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxLine bounds how many bytes of an unfinished line are held back.
const maxLine = 8 << 10

// A Prefixer writes the lines of one of several processes, each with the process's label.
// It does not mix lines of different processes.
type Prefixer struct {
	mu    *sync.Mutex // shared by all writers to w
	w     io.Writer
	label string
	line  []byte
}

// NewPrefixer returns a Prefixer to w. All that write to w share mu.
func NewPrefixer(mu *sync.Mutex, w io.Writer, label string) *Prefixer {
	return &Prefixer{mu: mu, w: w, label: label}
}

// Write implements io.Writer.
func (p *Prefixer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		p.line, b = append(p.line, part...), rest
		if !whole && len(p.line) < maxLine {
			break
		}
		if _, err := fmt.Fprintf(p.w, "%s | %s\n", p.label, p.line); err != nil {
			return 0, err
		}
		p.line = p.line[:0]
	}
	return n, nil
}

// Flush writes the last line if it is unfinished.
func (p *Prefixer) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.line) > 0 {
		_, _ = fmt.Fprintf(p.w, "%s | %s\n", p.label, p.line)
		p.line = nil
	}
}
