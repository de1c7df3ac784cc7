package trace

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestFollow reads a file while it is written and rotated; no event is missing.
func TestFollow(t *testing.T) {
	const calls = 2000
	path := filepath.Join(t.TempDir(), "trace")
	f, err := CreateFile(path, 50_000, 100)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSink(f, 0)
	s.Put(&Header{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	idle := 0
	follow, err := Follow(ctx, path, func() error { idle++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Close()
	read := make(chan int)
	go func() {
		n := 0
		for r := NewReader(follow); ; {
			e, err := r.Next()
			if errors.Is(err, io.EOF) || e != nil && e.Type() == "end" {
				break
			}
			if err != nil {
				t.Error(err)
				break
			}
			if e.Type() == "call" {
				n++
			}
		}
		read <- n
	}()
	for i := range calls {
		s.Put(sampleCall())
		if i%100 == 0 {
			time.Sleep(followEvery + 2*gatherFor)
		}
	}
	s.Put(&End{})
	if err := s.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n != calls || idle == 0 {
		t.Errorf("%d calls were read; want %d", n, calls)
	}
	cancel()
	if _, err := io.ReadAll(follow); err != nil {
		t.Error(err)
	}
}

// TestFollowRotatedOften rotates several times between two looks. What is still there is
// read, and what is gone is told.
func TestFollowRotatedOften(t *testing.T) {
	for _, tc := range []struct {
		keep int
		lost bool
	}{{50, false}, {3, true}} {
		path := filepath.Join(t.TempDir(), "trace")
		f, err := CreateFile(path, 1000, tc.keep)
		if err != nil {
			t.Fatal(err)
		}
		write := func(e Event) {
			if _, err := f.Write(Append(nil, e)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		write(&Header{})
		follow, err := Follow(ctx, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer follow.Close()
		const calls = 40 // some 300 bytes each
		for i := range calls {
			e := sampleCall()
			e.FD = i
			write(e)
		}
		write(&End{})
		f.Close()
		var got []int
		lost := 0
		for r := NewReader(follow); ; {
			e, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Type() == "end" {
				break
			}
			switch e := e.(type) {
			case *Call:
				got = append(got, e.FD)
			case *Dropped:
				lost++
			}
		}
		switch {
		case !slices.IsSorted(got), got[len(got)-1] != calls-1:
			t.Errorf("%d files: read %v", tc.keep, got)
		case tc.lost && (lost != 1 || len(got) == calls), !tc.lost &&
			(lost != 0 || len(got) != calls):
			t.Errorf("%d files: %d of %d calls, %d gaps told", tc.keep, len(got), calls, lost)
		}
	}
}
