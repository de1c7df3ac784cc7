package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followEvery is how often Follow looks whether a file has grown.
const followEvery = 100 * time.Millisecond

// Follow opens a trace's file that is being written. At its end, Read calls idle, which may be nil, and waits until there is more, or
// another file has taken its place, which it goes on with; until ctx ends, which is the end of the trace.
func Follow(ctx context.Context, path string, idle func() error) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("follow trace: %w", err)
	}
	return &follower{ctx: ctx, path: path, idle: idle, f: f}, nil
}

type follower struct {
	ctx  context.Context
	path string
	idle func() error
	f    *os.File
}

func (f *follower) Read(b []byte) (int, error) {
	for {
		n, err := f.f.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		next := f.next()
		if next != nil {
			// What was written before the file was rotated is there by now.
			if n, err := f.f.Read(b); n > 0 {
				next.Close()
				return n, err
			}
			f.f.Close()
			f.f = next
			continue
		}
		if f.idle != nil {
			if err := f.idle(); err != nil {
				return 0, err
			}
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(followEvery):
		}
	}
}

// next opens the file that has taken the place of the one that is read, nil if there is none.
func (f *follower) next() *os.File {
	next, err := os.Open(f.path)
	if err != nil {
		return nil // it is being rotated
	}
	was, err := f.f.Stat()
	if is, err2 := next.Stat(); err == nil && err2 == nil && !os.SameFile(was, is) {
		return next
	}
	next.Close()
	return nil
}

func (f *follower) Close() error { return f.f.Close() }
