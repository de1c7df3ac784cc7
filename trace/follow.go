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

// followEvery is how often Follow checks whether a file has grown.
const followEvery = 100 * time.Millisecond

// Follow opens the file of a trace that is being written. At its end, Read calls idle,
// which may be nil, and waits until the file grows, or until another file replaces it,
// with which it continues. The trace ends when ctx ends.
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

	misses int // number of consecutive checks that found no file with this name
}

func (f *follower) Read(b []byte) (int, error) {
	for {
		n, err := f.f.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		next, lost := f.next()
		if next != nil {
			// What was written before the rotation is in the file by now.
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

// lostLine stands for files that were removed before they were read. The number of their
// events is unknown.
const lostLine = `{"type":"dropped"}` + "\n"

// next opens the file that was written after the current one, or returns nil if there is
// none yet. A rotation renames FILE to FILE.1, FILE.1 to FILE.2 and so on, perhaps
// several times between two checks, and removes the oldest. lost reports that files in
// between are gone.
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
			if !f.isAt(was, k) { // rotated again meanwhile: the next check will find it
				next.Close()
				return nil, false
			}
			return next, false
		}
		if _, err := os.Stat(f.name(k)); err == nil {
			oldest = k
		}
	}
	// A name is missing for a moment during a rotation.
	if f.misses++; f.misses < 3 {
		return nil, false
	}
	if next, err = os.Open(f.name(oldest)); err != nil {
		return nil, false
	}
	f.misses = 0
	return next, true
}

// maxRotated limits the names that are checked.
const maxRotated = 100

// name returns the name of a file after k rotations.
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
