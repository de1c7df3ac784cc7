package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestStream(t *testing.T) { virtual(t, testStream) }

func testStream(t *testing.T, l *lab) {
	a := l.node(1)
	b := l.node(2)
	seen := make(chan *Stream, 1)
	b.onAccept(func(s *Stream) {
		seen <- s
		echo(s)
	})
	s := a.open(t, 2)
	exchange(t, s, "hello")
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s); len(b) != 0 || err != nil {
		t.Errorf("after FIN: %q, %v", b, err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after CloseWrite: %v, want net.ErrClosed", err)
	}
	far := <-seen
	if far.Header() != header() || s.Header() != header() || far.Peer() != 1 ||
		s.Peer() != 2 || far.ID() != s.ID() {
		t.Errorf("far side: %+v from %d, stream %d; near: %+v to %d, stream %d",
			far.Header(), far.Peer(), far.ID(), s.Header(), s.Peer(), s.ID())
	}
	eventually(t, "the path is local", func() bool { return s.Kind() == KindLocal })
}

// Each direction ends by itself: what the other one carries still arrives.
func TestHalfClose(t *testing.T) { virtual(t, testHalfClose) }

func testHalfClose(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	const request, reply = "all that I have to say", "so have I"
	b.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		got, err := io.ReadAll(s) // until the FIN
		if string(got) != request || err != nil {
			t.Errorf("far side read %q, %v", got, err)
		}
		io.WriteString(s, reply)
		s.CloseWrite()
	})
	s := a.open(t, 2)
	io.WriteString(s, request)
	s.CloseWrite()
	if got, err := io.ReadAll(s); string(got) != reply || err != nil {
		t.Errorf("read %q, %v; want %q", got, err, reply)
	}

	// The other way round: the acceptor ends first.
	ended := make(chan error, 1)
	b.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		s.CloseWrite()
		got, err := io.ReadAll(s)
		if err == nil && string(got) != request {
			err = fmt.Errorf("read %q", got)
		}
		ended <- err
	})
	s = a.open(t, 2)
	if got, err := io.ReadAll(s); len(got) != 0 || err != nil {
		t.Errorf("read %q, %v; want the end", got, err)
	}
	io.WriteString(s, request)
	s.CloseWrite()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Programs that do not read hold up only themselves, however many they are, and however
// little memory there is.
func TestStalledStreams(t *testing.T) {
	stalled := scaled(100)
	for _, bytes := range []int64{minMemory, maxMemory} {
		t.Run(fmt.Sprint(bytes), func(t *testing.T) {
			virtual(t, func(t *testing.T, l *lab) {
				a, b := l.node(1, memory(bytes)), l.node(2)
				begun := make(chan struct{}, stalled)
				b.onAccept(func(s *Stream) {
					s.Answer(StatusOK)
					s.Write(make([]byte, waitingWindow)) // as much as nobody need read
					begun <- struct{}{}
					untilError(s)
				})
				for range stalled {
					defer a.open(t, 2).Reset()
				}
				for range stalled {
					<-begun
				}
				b.onAccept(echo)
				exchange(t, a.open(t, 2), "hello")
			})
		})
	}
}

// untilError writes until it fails.
func untilError(s *Stream) error {
	for {
		if _, err := s.Write(make([]byte, 1000)); err != nil {
			return err
		}
	}
}

func TestReset(t *testing.T) {
	for _, who := range []string{"opener", "acceptor"} {
		t.Run(who, func(t *testing.T) {
			virtual(t, func(t *testing.T, l *lab) {
				a, b := l.node(1), l.node(2)
				accepted := make(chan *Stream, 1)
				b.onAccept(func(s *Stream) {
					s.Answer(StatusOK)
					accepted <- s
				})
				s := a.open(t, 2)
				far := <-accepted
				if who == "acceptor" {
					s, far = far, s
				}
				io.WriteString(s, "lost or not")
				s.Reset()
				if _, err := io.Copy(io.Discard,
					struct{ io.Reader }{far}); !errors.Is(err,
					ErrReset) {
					t.Errorf("far side read: %v, want ErrReset", err)
				}
				if err := untilError(far); !errors.Is(err, ErrReset) {
					t.Errorf("far side wrote: %v, want ErrReset", err)
				}
				if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) ||
					errors.Is(err, ErrLost) {
					t.Errorf("near side read: %v, want net.ErrClosed", err)
				}
				if _, err := s.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) ||
					errors.Is(err, ErrLost) {
					t.Errorf("near side wrote: %v, want net.ErrClosed", err)
				}
			})
		})
	}
}

func TestCloseRead(t *testing.T) { virtual(t, testCloseRead) }

func testCloseRead(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	b.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		s.CloseRead()
		io.WriteString(s, "still speaking")
		s.CloseWrite()
	})
	s := a.open(t, 2)
	if got, err := io.ReadAll(s); string(got) != "still speaking" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := untilError(s); !errors.Is(err, ErrReset) {
		t.Errorf("wrote: %v, want ErrReset", err)
	}
}

func TestStatus(t *testing.T) { virtual(t, testStatus) }

func testStatus(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	for _, status := range []Status{StatusRefused, StatusUnreachable, StatusTimeout,
		StatusBusy, StatusForbidden, 77} {
		b.onAccept(func(s *Stream) {
			s.Answer(status)
			if s.Answer(StatusOK) == nil {
				t.Error("answered twice")
			}
		})
		_, err := a.Open(context.Background(), 2, header())
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Status != status {
			t.Errorf("%v: got %v", status, err)
		}
	}
	b.onAccept(func(*Stream) {}) // no answer at all
	if _, err := a.Open(context.Background(), 2, header()); !errors.Is(err, ErrReset) {
		t.Errorf("no answer: %v, want ErrReset", err)
	}
	eventually(t, "refused streams are over",
		func() bool { return a.streams(2) == 0 && b.streams(1) == 0 })
}

// streams counts the streams to a peer that have not ended.
func (n *labNode) streams(peer uint32) (total int) {
	p, err := n.peer(peer)
	if err != nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.mu.Lock()
		total += len(c.streams)
		c.mu.Unlock()
	}
	return total
}

// Who gives up before the answer gets the reason of the context, and the far
// side a reset.
func TestOpenCanceled(t *testing.T) { virtual(t, testOpenCanceled) }

func testOpenCanceled(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	accepted, ended := make(chan bool), make(chan error, 1)
	b.onAccept(func(s *Stream) {
		accepted <- true
		_, err := s.Read(make([]byte, 1))
		ended <- err
		s.Answer(StatusTimeout)
	})
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		<-accepted
		cancel(why)
	}()
	if _, err := a.Open(ctx, 2, header()); !errors.Is(err, why) {
		t.Errorf("opened: %v, want %v", err, why)
	}
	if err := <-ended; !errors.Is(err, ErrReset) {
		t.Errorf("far side: %v, want ErrReset", err)
	}
}

// A stream whose header makes no sense, or does not come, ends without Accept.
func TestBadHeader(t *testing.T) { virtual(t, testBadHeader) }

func testBadHeader(t *testing.T, l *lab) {
	a := l.node(1)
	b := l.node(2, func(c *Config) { c.Timers.Header = 50 * time.Millisecond })
	b.onAccept(func(s *Stream) {
		t.Error("accepted")
		s.Reset()
	})
	p, _ := a.peer(2)
	c, _, err := p.connection(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, hello := range map[string][]byte{
		"nonsense":    bytes.Repeat([]byte{0xff}, 100),
		"half of one": {headerVersion, 0},
	} {
		q, err := c.quic.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		q.Write(hello)
		if _, err := q.Read(make([]byte, 1)); !errors.Is(streamError(err), ErrReset) {
			t.Errorf("%s: %v, want a reset", name, err)
		}
		q.CancelWrite(codeReset)
	}
}

// TestDeadlines ends a Read and a Write by their deadlines: the stream goes on when the
// deadlines are gone.
func TestDeadlines(t *testing.T) { virtual(t, testDeadlines) }

func testDeadlines(t *testing.T, l *lab) {
	a := l.node(1)
	l.node(2)
	s := a.open(t, 2)
	s.SetReadDeadline(time.Now())
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want a passed deadline", err)
	}
	s.SetWriteDeadline(time.Unix(1, 0))
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d, %v; want a passed deadline", n, err)
	}
	s.SetReadDeadline(time.Time{})
	s.SetWriteDeadline(time.Time{})
	exchange(t, s, "as if nothing had happened")
	s.Close()
}

func TestManyStreams(t *testing.T) { virtual(t, testManyStreams) }

func testManyStreams(t *testing.T, l *lab) {
	a := l.node(1)
	b := l.node(2)
	many := scaled(1000)
	streams := make([]*Stream, many)
	var opening sync.WaitGroup
	for i := range streams {
		opening.Go(func() { streams[i] = a.open(t, 2) })
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	var talking sync.WaitGroup
	for i, s := range streams { // all of them are open at once
		talking.Go(func() {
			msg := bytes.Repeat([]byte(fmt.Sprint(i, " ")), 1000)
			go func() {
				s.Write(msg)
				s.CloseWrite()
			}()
			if got, err := io.ReadAll(s); !bytes.Equal(got, msg) || err != nil {
				t.Errorf("stream %d: %d bytes, %v; want %d", i, len(got), err, len(msg))
			}
		})
	}
	talking.Wait()
	eventually(t, "all streams are over",
		func() bool { return a.streams(2) == 0 && b.streams(1) == 0 })
}

func TestOpenCloseLeaksNothing(t *testing.T) {
	l := newLab(t)
	a, b := l.node(1), l.node(2)
	b.onAccept(func(s *Stream) {
		switch s.Header().Source.Port() % 3 {
		case 0:
			s.Answer(StatusRefused)
		case 1:
			s.Answer(StatusOK)
			s.Reset()
		default:
			echo(s)
		}
	})
	cycle := func(times int) {
		h := header()
		for i := range times {
			h.Source = netAddrPort(h.Source, uint16(i+1))
			s, err := a.Open(context.Background(), 2, h)
			if err != nil {
				continue // refused, or reset before the answer was read
			}
			s.Write([]byte("x"))
			s.CloseWrite()
			io.Copy(io.Discard, struct{ io.Reader }{s})
		}
	}
	settled := func() bool { return a.streams(2) == 0 && b.streams(1) == 0 }
	cycle(100)
	eventually(t, "the first streams are over", settled)
	before := runtime.NumGoroutine()
	cycle(scaled(2000))
	eventually(t, "all streams are over", settled)
	eventually(t, "their goroutines are gone",
		func() bool { return runtime.NumGoroutine() <= before+2 })
}

func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	l := newLab(t)
	a, b := l.node(1), l.node(2)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	b.Close()
	start := time.Now()
	_, err := s.Read(make([]byte, 1))
	if !errors.Is(err, ErrLost) || !errors.Is(err, net.ErrClosed) ||
		errors.Is(err, ErrReset) {
		t.Errorf("read: %v, want ErrLost and net.ErrClosed", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("noticed after %v, want at once", d)
	}
	if _, err := b.Open(context.Background(), 1, header()); !errors.Is(err, ErrClosed) {
		t.Errorf("open on a closed node: %v, want ErrClosed", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	a.Close()
	for _, n := range l.nodes {
		n.socket.Close()
	}
	l.server.Close()
	eventually(t, "all goroutines are gone",
		func() bool { return runtime.NumGoroutine() <= before })
}

// What was written before a reset arrives, as what a TCP receiver has got before
// the RST: a server's last words on a connection that it closes with data unread.
func TestResetAfterData(t *testing.T) { virtual(t, testResetAfterData) }

func testResetAfterData(t *testing.T, l *lab) {
	want := bytes.Repeat([]byte("last words "), 20_000)
	a, b := l.node(1), l.node(2)
	b.onAccept(func(s *Stream) {
		s.Answer(StatusOK)
		if _, err := s.Write(want); err != nil {
			t.Error(err)
		}
		s.Reset()
	})
	for range 20 {
		s := a.open(t, 2)
		got, err := io.ReadAll(s)
		if !errors.Is(err, ErrReset) || !bytes.Equal(got, want) {
			t.Fatalf("read %d of %d bytes, then %v", len(got), len(want), err)
		}
		s.Reset()
	}
}

func TestOnStopSending(t *testing.T) { virtual(t, testOnStopSending) }

func testOnStopSending(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	for _, tc := range []struct {
		name  string
		end   func(near, far *Stream)
		calls bool
	}{
		{"the peer reads no more", func(_, far *Stream) { far.CloseRead() }, true},
		{"the peer resets", func(_, far *Stream) { far.Reset() }, true},
		{"this side ends", func(near, _ *Stream) { near.CloseWrite() }, false},
		{"this side resets", func(near, _ *Stream) { near.Reset() }, false},
		// the last one: b is closed
		{"the peer is lost", func(*Stream, *Stream) { b.Close() }, true},
	} {
		accepted := make(chan *Stream, 1)
		b.onAccept(func(s *Stream) {
			s.Answer(StatusOK)
			accepted <- s
		})
		near := a.open(t, 2)
		called := make(chan struct{})
		stop := near.OnStopSending(func() { close(called) })
		tc.end(near, <-accepted)
		if tc.calls {
			select {
			case <-called:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: nothing was called", tc.name)
			}
		} else {
			<-near.quic.Context().Done()
			if stop() {
				t.Errorf("%s: the direction has not ended", tc.name)
			}
			select {
			case <-called:
				t.Errorf("%s: was called", tc.name)
			case <-time.After(50 * time.Millisecond): // nothing tells that it is not
			}
		}
		near.Reset()
	}
}
