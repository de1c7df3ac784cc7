package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// followEvery is how often Follow looks whether a file has grown.
const followEvery = 100 * time.Millisecond

// Follow opens a trace's file that is being written. At its end, Read calls idle, which
// may be nil, and waits until there is more, or another file has taken its place, which
// it goes on with; until ctx ends, which is the end of the trace.
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

	misses int // how often in a row the file had no name
}

func (f *follower) Read(b []byte) (int, error) {
	for {
		n, err := f.f.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		next, lost := f.next()
		if next != nil {
			// What was written before the file was rotated is there by now.
			if n, err := f.f.Read(b); n > 0 {
				next.Close()
				return n, err
			}
			f.f.Close()
			f.f = next
			if lost {
				return copy(b, lostLine), nil
			}
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

// lostLine is told where files were removed before they were read: nobody knows how many
// events they had.
const lostLine = `{"type":"dropped"}` + "\n"

// next opens the file that was written after the one that is read, nil if there is none
// yet. Rotation renames FILE to FILE.1, FILE.1 to FILE.2 and so on, perhaps several times
// between two looks, and removes the oldest. lost says that files in between are gone.
func (f *follower) next() (next *os.File, lost bool) {
	was, err := f.f.Stat()
	if err != nil || f.isAt(was, 0) {
		return nil, false
	}
	oldest := 0
	for k := 1; k <= maxRotated; k++ {
		if f.isAt(was, k) {
			f.misses = 0
			if next, err = os.Open(f.name(k - 1)); err != nil {
				return nil, false // it is being rotated
			}
			if !f.isAt(was, k) { // rotated again meanwhile: the next look knows more
				next.Close()
				return nil, false
			}
			return next, false
		}
		if _, err := os.Stat(f.name(k)); err == nil {
			oldest = k
		}
	}
	// Names are missing for a moment while they change.
	if f.misses++; f.misses < 3 {
		return nil, false
	}
	if next, err = os.Open(f.name(oldest)); err != nil {
		return nil, false
	}
	f.misses = 0
	return next, true
}

// maxRotated bounds the names that are looked at.
const maxRotated = 100

// name returns the name that a file has after being rotated k times.
func (f *follower) name(k int) string {
	if k == 0 {
		return f.path
	}
	return f.path + "." + strconv.Itoa(k)
}

// isAt reports whether a file has that name now.
func (f *follower) isAt(file os.FileInfo, k int) bool {
	is, err := os.Stat(f.name(k))
	return err == nil && os.SameFile(file, is)
}

func (f *follower) Close() error { return f.f.Close() }
