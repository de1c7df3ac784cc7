package trace

import (
	"context"
	"errors"
	"io"
	"path/filepath"
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
		if i%100 == 0 { // one file may be replaced while nobody looks, two not
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
