package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// gatedWriter keeps what it is given; while it is shut, Write waits, or fails if it has
// an error.
type gatedWriter struct {
	mu    sync.Mutex
	open  chan struct{}
	err   error
	room  int // what is taken before err
	taken bytes.Buffer
}

func (w *gatedWriter) Write(b []byte) (int, error) {
	<-w.open
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil && len(b) > w.room {
		n, _ := w.taken.Write(b[:w.room])
		w.room = 0
		return n, w.err
	}
	return w.taken.Write(b)
}

func (w *gatedWriter) Close() error { return nil }

// tally reads a trace and returns how many calls it has, and how many are missing
// according to it.
func tally(t *testing.T, r io.Reader) (calls, missing int) {
	t.Helper()
	for reader := NewReader(r); ; {
		e, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return calls, missing
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *Call:
			calls++
		case *Dropped:
			missing += int(e.Count)
		}
	}
}

// TestSinkSlowReader puts a million events while nothing is read.
func TestSinkSlowReader(t *testing.T) {
	const events = 1_000_000
	out := &gatedWriter{open: make(chan struct{})}
	s := NewSink(out, 1<<20)
	s.Put(&Header{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	call, start := sampleCall(), time.Now()
	for range events {
		s.Put(call)
	}
	t.Logf("%v an event", time.Since(start)/events)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("a buffer of 1 MiB grew the heap by %d bytes", grown)
	}
	close(out.open)
	if err := s.Close(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	calls, missing := tally(t, &out.taken)
	if calls == 0 || missing == 0 || calls+missing != events ||
		s.Dropped() != uint64(missing) {
		t.Errorf("%d calls were written, %d are missing, %d dropped; together they should be %d", calls, missing, s.Dropped(), events)
	}
}

// TestSinkFullDisk has a disk that is full in the middle of a line, for 2 s.
func TestSinkFullDisk(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		out := &gatedWriter{open: make(chan struct{}),
			err: &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, room: 1000}
		close(out.open)
		s := NewSink(out, 100_000)
		s.Put(&Header{})
		for range 100 {
			s.Put(sampleCall())
		}
		time.Sleep(time.Second)
		for range 1000 {
			s.Put(sampleCall())
		}
		time.Sleep(time.Second)
		out.mu.Lock()
		out.err = nil
		out.mu.Unlock()
		time.Sleep(time.Second)
		s.Put(sampleCall())
		if err := s.Close(time.Second); err != nil {
			t.Fatal(err)
		}
		calls, missing := tally(t, &out.taken)
		if calls <= 101 || missing == 0 || calls+missing != 1101 {
			t.Errorf("%d calls were written and %d are missing, of 1101", calls, missing)
		}
	})
}

func TestSinkReaderGone(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		out := &gatedWriter{open: make(chan struct{}), err: syscall.EPIPE}
		close(out.open)
		s := NewSink(out, 0)
		s.Put(sampleCall())
		<-s.Done()
		s.Put(sampleCall())
		if err := s.Close(time.Second); !errors.Is(err, syscall.EPIPE) ||
			!errors.Is(s.Err(), syscall.EPIPE) {
			t.Errorf("got %v and %v", err, s.Err())
		}
	})
}

func TestSinkCloseIsBounded(t *testing.T) {
	r, w := io.Pipe() // which nobody reads
	defer r.Close()
	s := NewSink(w, 0)
	s.Put(sampleCall())
	time.Sleep(2 * gatherFor)
	if err := s.Close(50 * time.Millisecond); err == nil {
		t.Error("no error, though nothing was written")
	}
	<-s.Done() // closing the pipe ended the goroutine
}

// TestSinkGathers has no Write for each event, and none waits for long.
func TestSinkGathers(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		s := NewSink(w, 0)
		begin := time.Now()
		for range 100 {
			s.Put(sampleCall())
		}
		buf := make([]byte, 1<<20)
		n, _ := r.Read(buf)
		if lines := bytes.Count(buf[:n], []byte("\n")); lines != 100 ||
			time.Since(begin) > gatherFor {
			t.Errorf("%d lines after %v", lines, time.Since(begin))
		}
		if err := s.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := CreateFile(path, 10_000, 20)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSink(f, 0)
	s.Put(&Header{Node: "db"})
	s.Put(&Clock{ClockOffset: 5, ClockError: 1})
	for i := range 300 {
		s.Put(sampleCall())
		if i%100 == 0 {
			time.Sleep(3 * gatherFor)
		}
	}
	if err := s.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(path + "*")
	total := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := os.Stat(name)
		if len(text) > 10_000 || info.Mode() != 0o600 {
			t.Errorf("%s has %d bytes, mode %v", name, len(text), info.Mode())
		}
		r := NewReader(bytes.NewReader(text))
		h, err := r.Next()
		c, err2 := r.Next()
		if header, ok := h.(*Header); err != nil || err2 != nil || !ok ||
			header.Node != "db" || c.Type() != "clock" {
			t.Errorf("%s begins with %v, %v (%v, %v)", name, h, c, err, err2)
		}
		calls, _ := tally(t, bytes.NewReader(text))
		total += calls
	}
	if total != 300 || len(names) < 10 {
		t.Errorf("%d calls in %d files", total, len(names))
	}
}

// TestFileKeeps goes through more files than are kept; one line is longer than a file may
// be.
func TestFileKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	f, err := CreateFile(path, 1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	lines := Append(nil, &Header{})
	for i := range 20 {
		lines = Append(lines, &End{Reason: fmt.Sprint(i, " ",
			string(bytes.Repeat([]byte("x"), 400+i/19*1000)))})
	}
	if n, err := f.Write(lines); n != len(lines) || err != nil {
		t.Fatal(n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(path + "*")
	if len(names) != 3 {
		t.Errorf("%q are left; want three", names)
	}
	text, _ := os.ReadFile(path)
	if !bytes.Contains(text, []byte(`"19 `)) || bytes.Count(text, []byte("\n")) != 2 {
		t.Errorf("the last file has %.200s", text)
	}
}

func BenchmarkSinkPut(b *testing.B) {
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	s := NewSink(f, 0)
	call := sampleCall()
	b.ReportAllocs()
	for b.Loop() {
		s.Put(call)
	}
	if err := s.Close(time.Second); err != nil {
		b.Error(err)
	}
}
