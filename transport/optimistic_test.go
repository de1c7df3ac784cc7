package transport

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"
)

func TestCredit(t *testing.T) {
	if DatagramKind(announcements).known() {
		t.Error("a kind of datagram has the number of announcements")
	}
	var near, far conn
	near.credits.init()
	far.credits.init()
	dst := header().Destination
	tell := func() { // far's announcements to near
		t.Helper()
		if err := near.learn(bytes.NewReader(far.credits.appendUnsent(nil))); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	open := func(want bool) {
		t.Helper()
		if got := near.credits.opening(dst, true); got != want {
			t.Fatalf("optimistic: %v, want %v", got, want)
		}
	}
	open(false) // nothing announced
	near.credits.opening(dst, false)
	far.credits.grant(dst, 2) // before that stream has arrived: it takes room, too
	tell()
	open(true)
	open(false)
	far.credits.arrived(dst)
	if far.credits.arrived(dst) != true {
		t.Error("no new grant is wanted when the old one is used")
	}
	far.credits.grant(dst, 4)
	tell()
	for range 4 {
		open(true)
	}
	open(false)
	far.credits.grant(dst, 0)
	tell()
	open(false)
	if b := far.credits.appendUnsent(nil); len(b) != 0 {
		t.Errorf("told twice: %x", b)
	}
}

// announcing makes a pair of connected nodes, of which the far one has announced the
// destination of header().
func announcing(t *testing.T, l *lab, credit int) (near, far *labNode) {
	near, far = l.node(1), l.node(2)
	far.Announce(header().Destination, credit)
	if err := near.Connect(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// openOptimistic waits until the announcement has come.
func openOptimistic(t *testing.T, near *labNode) *Stream {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s, ok := near.OpenOptimistic(2, header()); ok {
			return s
		}
	}
	t.Fatal("never optimistic")
	return nil
}

func TestOpenOptimistic(t *testing.T) { virtual(t, testOpenOptimistic) }

func testOpenOptimistic(t *testing.T, l *lab) {
	near, far := announcing(t, l, 1)
	arrived := make(chan Header, 1)
	answer := make(chan struct{})
	far.onAccept(func(s *Stream) {
		arrived <- s.Header()
		<-answer
		s.Answer(StatusOK)
		echoDuplex(s)
	})
	s := openOptimistic(t, near)
	if _, ok := near.OpenOptimistic(2, header()); ok {
		t.Error("a second optimistic stream, though one was allowed")
	}
	if _, err := s.Write([]byte("question")); err != nil { // nobody has answered yet
		t.Fatal(err)
	}
	if h := <-arrived; !h.Optimistic || h.Destination != header().Destination {
		t.Errorf("arrived: %+v", h)
	}
	close(answer)
	s.CloseWrite()
	if b, err := io.ReadAll(struct{ io.Reader }{s}); string(b) != "question" ||
		err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestOpenOptimisticFlush(t *testing.T) { virtual(t, testOpenOptimisticFlush) }

func testOpenOptimisticFlush(t *testing.T, l *lab) {
	near, far := announcing(t, l, 1)
	far.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		s.Write([]byte("220 ready"))
		s.CloseWrite()
		s.CloseRead()
	})
	s := openOptimistic(t, near)
	s.Flush() // this side says nothing before the far side does
	if b, err := io.ReadAll(struct{ io.Reader }{s}); string(b) != "220 ready" ||
		err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	s.CloseWrite()
}

func TestOpenOptimisticRefused(t *testing.T) { virtual(t, testOpenOptimisticRefused) }

func testOpenOptimisticRefused(t *testing.T, l *lab) {
	near, far := announcing(t, l, 2)
	far.onAccept(func(s *Stream) { s.Answer(StatusRefused) })
	s := openOptimistic(t, near)
	s.Flush()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("got %v, want %v", err, ErrReset)
	}
	s.Reset()
	if _, ok := near.OpenOptimistic(2, header()); ok {
		t.Error("optimistic again after a refusal")
	}
}

func TestOpenOptimisticReset(t *testing.T) { virtual(t, testOpenOptimisticReset) }

func testOpenOptimisticReset(t *testing.T, l *lab) {
	near, far := announcing(t, l, 1)
	ended := make(chan error, 1)
	far.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		_, err := s.Read(make([]byte, 1))
		ended <- err
		s.Reset()
	})
	// before anything was sent: the far side sees it all the same
	openOptimistic(t, near).Reset()
	if err := <-ended; !errors.Is(err, ErrReset) {
		t.Errorf("the far side got %v, want %v", err, ErrReset)
	}
}

func TestOpenOptimisticOrder(t *testing.T) { virtual(t, testOpenOptimisticOrder) }

func testOpenOptimisticOrder(t *testing.T, l *lab) {
	const n = 32
	near, far := announcing(t, l, n)
	got := make(chan uint16, n)
	far.onAccept(func(s *Stream) {
		got <- s.Header().Source.Port()
		s.Answer(StatusOK)
		s.Reset()
	})
	openOptimistic(t, near).Reset()
	<-got
	for i := range uint16(n - 1) {
		h := header()
		h.Source = netip.AddrPortFrom(h.Source.Addr(), 1000+i)
		s, ok := near.OpenOptimistic(2, h)
		if !ok {
			t.Fatal("not optimistic")
		}
		s.Flush()
		defer s.Reset()
	}
	for i := range uint16(n - 1) {
		if port := <-got; port != 1000+i {
			t.Fatalf("stream %d arrived in place of %d", port-1000, i)
		}
	}
}

func FuzzAnnouncements(f *testing.F) {
	f.Add([]byte("\x04\x1f\x90\x0a\x6f\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c conn
		c.credits.init()
		if err := c.learn(bytes.NewReader(b)); err == nil {
			t.Fatal("no error at the end")
		}
		if len(c.credits.theirs) > maxAnnounced {
			t.Fatal("too much is remembered")
		}
	})
}
