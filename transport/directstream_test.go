package transport

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// reserve waits until the announcement of header's destination has come.
func reserve(t *testing.T, near *labNode) *Stream {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s, ok := near.ReserveOptimistic(2, header().Destination); ok {
			return s
		}
	}
	t.Fatal("never a stream")
	return nil
}

func TestDirectStream(t *testing.T) { virtual(t, testDirectStream) }

func testDirectStream(t *testing.T, l *lab) {
	near, far := announcing(t, l, 64)
	type outcome struct {
		port        uint16
		established bool
		err         error
	}
	outcomes := make(chan outcome, 1)
	far.onAccept(func(s *Stream) {
		o := outcome{port: s.Header().DirectPort}
		s.Answer(StatusOK)
		o.established, o.err = s.AwaitDirect()
		outcomes <- o
		if !o.established && o.err == nil {
			io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
			s.CloseWrite()
		}
	})
	begin := func() *Stream {
		t.Helper()
		s := reserve(t, near)
		h := header()
		h.DirectPort = 40001
		if err := s.Begin(h); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		return s
	}

	if info, ok := near.Path(2); !ok || info.ID != 2 {
		t.Errorf("path: %+v, %v", info, ok)
	}
	if _, ok := near.Path(3); ok {
		t.Error("a path to nobody")
	}
	if err := begin().SettleDirect(true); err != nil {
		t.Error(err)
	}
	if o := <-outcomes; o != (outcome{40001, true, nil}) {
		t.Errorf("established: the acceptor has seen %+v", o)
	}

	s := begin()
	if err := s.SettleDirect(false); err != nil {
		t.Fatal(err)
	}
	if o := <-outcomes; o != (outcome{40001, false, nil}) {
		t.Errorf("given up: the acceptor has seen %+v", o)
	}
	exchange(t, s, "over the stream")
	s.Close()

	begin().Reset()
	if o := <-outcomes; o.established || o.err == nil {
		t.Errorf("reset: the acceptor has seen %+v", o)
	}

	// Silence holds the acceptor's socket only for a while.
	silent := begin()
	start := time.Now()
	if o := <-outcomes; o.established || !errors.Is(o.err, os.ErrDeadlineExceeded) ||
		time.Since(start) > directWithin+time.Second {
		t.Errorf("silence: after %v the acceptor has seen %+v", time.Since(start), o)
	}
	silent.Reset()

	// A reservation that is not used takes no credit.
	before := near.peers[2].current.credits.theirs[header().Destination].used
	reserve(t, near).Cancel()
	if now := near.peers[2].current.credits.theirs[header().Destination].used; now != before {
		t.Errorf("credit: %d used, %d before", now, before)
	}
}
