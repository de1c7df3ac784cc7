package control

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/boxer-sandbox/boxer/host"
)

// DefaultLogSize is how much of a program's output a Log keeps, in bytes.
const DefaultLogSize = 1 << 20

// A Log keeps the last part of a program's output for those who ask for it later. Its
// methods may be called from any goroutine.
type Log struct {
	max int // bytes

	mu      sync.Mutex
	chunks  []chunk
	first   uint64 // number of the first chunk
	size    int    // bytes of all chunks
	closed  bool
	changed chan struct{} // closed and replaced when there is more
}

// chunkSize is from when on a chunk does not grow any more, in bytes.
const chunkSize = 4 << 10

// A chunk is what was written at once, or in several small writes.
type chunk struct {
	kind host.Kind
	b    []byte
}

// NewLog returns a log that keeps at least the last max bytes.
func NewLog(max int) *Log { return &Log{max: max, changed: make(chan struct{})} }

// Writer returns what writes to the log as a kind: host.Stdout or host.Stderr. It never
// fails.
func (l *Log) Writer(kind host.Kind) io.Writer { return logWriter{l, kind} }

type logWriter struct {
	l    *Log
	kind host.Kind
}

// Write implements io.Writer.
func (w logWriter) Write(b []byte) (int, error) {
	if len(b) > 0 {
		w.l.add(chunk{w.kind, bytes.Clone(b)})
	}
	return len(b), nil
}

func (l *Log) add(c chunk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size += len(c.b)
	if n := len(l.chunks); n > 0 && l.chunks[n-1].kind == c.kind &&
		len(l.chunks[n-1].b) < chunkSize { // many small writes become few chunks
		last := &l.chunks[n-1]
		last.b = append(last.b, c.b...) // readers do not look beyond the old end
	} else {
		l.chunks = append(l.chunks, c)
	}
	for len(l.chunks) > 1 && l.size-len(l.chunks[0].b) >= l.max {
		l.size -= len(l.chunks[0].b)
		l.chunks, l.first = l.chunks[1:], l.first+1
	}
	l.wakeLocked()
}

func (l *Log) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close says that nothing more will be written. It may be called more than once.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wakeLocked()
}

// copyTo writes what the log has from its last lines on, all of it if lines is negative.
// With follow it goes on until the log is closed, or ctx ends.
func (l *Log) copyTo(ctx context.Context, w *host.Writer, lines int, follow bool) error {
	at, skip := l.tail(lines)
	for {
		chunks, first, closed, changed := l.from(at)
		for i, c := range chunks {
			if first+uint64(i) != at {
				skip = 0
			}
			at = first + uint64(i)
			if len(c.b) == skip {
				continue
			}
			if err := w.Write(c.kind, c.b[skip:]); err != nil {
				return err
			}
			skip = len(c.b)
		}
		if closed || !follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// from returns the chunks from a number on, and the number of the first of them.
func (l *Log) from(at uint64) (chunks []chunk, first uint64, closed bool,
	changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first = max(at, l.first)
	return slices.Clone(l.chunks[first-l.first:]), first, l.closed, l.changed
}

// tail returns where the last lines begin: a chunk, and how many of its bytes are before.
func (l *Log) tail(lines int) (at uint64, skip int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case lines < 0:
		return l.first, 0
	case lines == 0 && len(l.chunks) > 0:
		last := len(l.chunks) - 1
		return l.first + uint64(last), len(l.chunks[last].b)
	}
	for i := len(l.chunks) - 1; i >= 0; i-- {
		b := l.chunks[i].b
		for end := len(b); end > 0; {
			end = bytes.LastIndexByte(b[:end], '\n')
			if end < 0 {
				break
			}
			// The end of the last line begins no other one.
			if i < len(l.chunks)-1 || end < len(b)-1 {
				if lines--; lines == 0 {
					return l.first + uint64(i), end + 1
				}
			}
		}
	}
	return l.first, 0
}
