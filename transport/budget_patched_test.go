//go:build quicpatched

package transport

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// flood opens streams to a node and writes data on each, until enough is closed. It
// returns how many bytes the other side took, and calls reset when it has reset a stream.
func (n *labNode) flood(t *testing.T, to uint32, streams int, enough <-chan struct{},
	reset func()) (taken int64) {
	t.Helper()
	p, err := n.peer(to)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := p.connection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, _ := AppendHeader(nil, header())
	data := make([]byte, 500_000)
	var sum atomic.Int64
	var writing sync.WaitGroup
	for range streams {
		q, err := c.quic.OpenStream()
		if err != nil {
			var limit *quic.StreamLimitReachedError
			if !errors.As(err, &limit) {
				t.Errorf("open: %v", err)
			}
			break
		}
		writing.Go(func() {
			go func() {
				<-enough
				q.SetWriteDeadline(time.Unix(1, 0))
			}()
			for _, b := range [][]byte{head, data} {
				n, err := q.Write(b)
				sum.Add(int64(n))
				var stream *quic.StreamError
				if errors.As(err, &stream) && stream.Remote {
					reset()
				}
			}
		})
	}
	writing.Wait()
	return sum.Load()
}

// unanswering makes a node leave streams unanswered until the test ends.
func (n *labNode) unanswering(t *testing.T) {
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	n.onAccept(func(*Stream) { <-done })
}

// What a peer sends before its streams are answered is bounded: for each stream, and for
// the peer.
func TestUnansweredBytes(t *testing.T) { virtual(t, testUnansweredBytes) }

func testUnansweredBytes(t *testing.T, l *lab) {
	victim, bad := l.node(1, memory(minMemory)), l.node(2)
	victim.unanswering(t)
	const streams = 400
	enough := make(chan struct{})
	// time for what must not happen
	time.AfterFunc(2*time.Second, func() { close(enough) })
	taken := bad.flood(t, 1, streams, enough, func() { t.Error("a stream was reset") })
	// Beyond the window, a write has handed over at most what waits to be sent.
	if limit := int64(streams * (waitingWindow + 4<<10)); taken > limit {
		t.Errorf("the node took %d bytes on %d streams that it did not answer, want at most %d", taken, streams, limit)
	}
	eventually(t, "the node holds something",
		func() bool { return victim.budget.held.Load() > 0 })
	if held := victim.budget.held.Load(); held > streams*2*waitingWindow {
		t.Errorf("the node holds %d bytes", held)
	}
}

// A peer may have a number of streams that are not answered, and further ones for
// those that are.
func TestUnansweredStreams(t *testing.T) { virtual(t, testUnansweredStreams) }

func testUnansweredStreams(t *testing.T, l *lab) {
	victim, bad := l.node(1), l.node(2)
	answer := make(chan struct{})
	victim.onAccept(func(s *Stream) {
		<-answer
		s.Answer(StatusOK)
	})
	p, _ := bad.peer(1)
	c, _, err := p.connection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, _ := AppendHeader(nil, header())
	open := func() (n int) {
		for {
			q, err := c.quic.OpenStream()
			if err != nil {
				return n
			}
			q.Write(head)
			n++
		}
	}
	if n := open(); n != waitingStreams {
		t.Errorf("%d streams may wait for their answers, want %d", n, waitingStreams)
	}
	close(answer)
	opened := waitingStreams
	eventually(t, "there may be as many streams again", func() bool {
		opened += open()
		return opened >= 2*waitingStreams
	})
}

// All peers together hold no more than they may: who holds most is reset. The others go
// on.
func TestMemoryOfAll(t *testing.T) { virtual(t, testMemoryOfAll) }

func testMemoryOfAll(t *testing.T, l *lab) {
	const limit = 8 << 20 // less than what one connection may hold
	victim := l.node(1, memory(limit))
	good := l.node(2)
	s := good.open(t, 1)
	exchange(t, s, "before")

	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	victim.onAccept(func(s *Stream) { // a program that accepts, and never reads
		s.Answer(StatusOK)
		<-done
	})
	var highest atomic.Int64
	watching := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(watching)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				highest.Store(max(highest.Load(), victim.budget.held.Load()))
			}
		}
	}()
	var flooding sync.WaitGroup
	enough := make(chan struct{})
	reset := sync.OnceFunc(func() { close(enough) })
	for id := range uint32(6) {
		bad := l.node(10 + id)
		flooding.Go(func() { bad.flood(t, 1, 300, enough, reset) })
	}
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Error("no stream was reset")
		reset()
	}
	flooding.Wait()
	close(stop)
	<-watching
	if got := highest.Load(); got > limit+limit/4 {
		t.Errorf("the node held %d bytes, want at most %d", got, limit)
	}
	exchange(t, s, "after")
	for id := range uint32(6) {
		victim.drop(10 + id)
	}
	victim.drop(2)
	eventually(t, "nothing is held any more",
		func() bool { return victim.budget.held.Load() == 0 })
}

// What a reset or unread stream held is free again at once, whatever its peer does.
func TestMemoryIsFreed(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(victim *labNode, s *Stream)
	}{
		{"reset", func(_ *labNode, s *Stream) { s.Reset() }},
		{"closeRead", func(_ *labNode, s *Stream) { s.CloseRead() }},
		{"forgotten", func(victim *labNode, _ *Stream) { victim.drop(2) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, l *lab) {
				victim, bad := l.node(1), l.node(2)
				accepted := make(chan *Stream, 1)
				victim.onAccept(func(s *Stream) {
					s.Answer(StatusOK)
					accepted <- s
				})
				_, err := bad.open(t, 1).Write(make([]byte, answeredWindow/2))
				if err != nil {
					t.Fatal(err)
				}
				s := <-accepted
				held := func() int64 { return victim.budget.held.Load() }
				eventually(t, "it is held",
					func() bool { return held() >= answeredWindow/2 })
				tc.end(victim, s)
				eventually(t, "it is free", func() bool { return held() == 0 })
			})
		})
	}
}

// drop forgets a peer.
func (n *labNode) drop(id uint32) {
	if p, ok := n.lab.lookup(id); ok {
		n.RemovePeer(p)
	}
}

// TestNewcomersShare has two peers connect from addresses that nothing has shown to be
// theirs. What one of them sends counts for that one alone.
func TestNewcomersShare(t *testing.T) { virtual(t, testNewcomersShare) }

func testNewcomersShare(t *testing.T, l *lab) {
	victim := l.node(1, memory(minMemory))
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	victim.onAccept(func(s *Stream) { // a program that accepts, and never reads
		s.Answer(StatusOK)
		<-done
	})
	greedy, modest := l.newcomer(t, 2, victim), l.newcomer(t, 3, victim)
	head, _ := AppendHeader(nil, header())
	write := func(q *quic.Conn, b []byte) {
		t.Helper()
		s, err := q.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(append(head, b...)); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		write(greedy, make([]byte, answeredWindow/2))
	}
	write(modest, make([]byte, 1000))
	held := func(id uint32) int64 {
		p, err := victim.peer(id)
		if err != nil {
			t.Fatal(err)
		}
		return p.account.held.Load()
	}
	eventually(t, "what the peers hold counts for them", func() bool {
		return held(2) >= 10*answeredWindow/2 && held(3) >= 1000
	})
	if small := held(3); small > waitingWindow {
		t.Errorf("%d bytes count for the peer that has sent 1000", small)
	}
	for _, q := range []*quic.Conn{greedy, modest} {
		q.CloseWithError(codeClosing, "")
	}
	eventually(t, "nothing is held, and no connection is known", func() bool {
		victim.newcomers.mu.Lock()
		defer victim.newcomers.mu.Unlock()
		return victim.budget.held.Load() == 0 && len(victim.newcomers.m) == 0
	})
}

// newcomer connects to a node as an admitted peer, from a socket of which no check was
// ever seen.
func (l *lab) newcomer(t *testing.T, id uint32, to *labNode) *quic.Conn {
	t.Helper()
	n := l.node(id)
	s, err := l.listen(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	q, err := s.QUIC().Dial(t.Context(), net.UDPAddrFromAddrPort(to.socket.LocalAddr()),
		n.clientTLS(to.identity.Key()), n.baseConfig(n.budget))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestNewcomers moves what a connection holds to the account of its peer.
func TestNewcomers(t *testing.T) {
	b := newBudget(minMemory)
	var w newcomers
	p := &account{budget: b}
	q, other := new(quic.Conn), new(quic.Conn)
	w.add(q, b, 100)
	w.add(other, b, 7)
	if held := p.held.Load(); held != 0 {
		t.Errorf("the peer holds %d bytes before it is known", held)
	}
	w.identify(q, p)
	w.add(q, b, 20)
	if held, all := p.held.Load(), b.held.Load(); held != 120 || all != 127 {
		t.Errorf("the peer holds %d bytes, all peers %d; want 120 and 127", held, all)
	}
	w.end(q) // while it holds something
	w.add(q, b, -120)
	w.add(other, b, -7) // ended before anybody knew who it was
	if held, all := p.held.Load(), b.held.Load(); held != 0 || all != 0 || len(w.m) != 0 {
		t.Errorf("held by the peer %d, by all %d, connections known %d", held, all,
			len(w.m))
	}
}
