package transport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

func netAddrPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

// block makes the node lose all packets to and from some addresses; none: from
// all of them.
func (n *labNode) block(addrs ...netip.AddrPort) {
	f := func(remote netip.AddrPort, _ bool) bool {
		for _, a := range addrs {
			if a == remote {
				return true
			}
		}
		return len(addrs) == 0
	}
	n.wire.lost.Store(&f)
}

func (n *labNode) unblock() { n.wire.lost.Store(nil) }

// current returns the connection to a peer for new streams.
func (n *labNode) current(peer uint32) *conn {
	p, err := n.peer(peer)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (n *labNode) kind(peer uint32) Kind {
	for _, info := range n.Paths() {
		if info.ID == peer {
			return info.Kind
		}
	}
	return KindNone
}

func short(c *Config) {
	c.Timers = Timers{
		KeepAlive: 100 * time.Millisecond, Idle: 2 * time.Second,
		Connect: 3 * time.Second,
		Relay:   50 * time.Millisecond, Refresh: 200 * time.Millisecond,
		Retry: 100 * time.Millisecond,
		Dead:  600 * time.Millisecond, Linger: 200 * time.Millisecond,
	}
}

// Both sides dial at the same time, again and again: all streams work, and both
// sides settle on the connection that the lower id has dialled.
func TestSimultaneousDial(t *testing.T) {
	for range scaled(12) {
		virtual(t, func(t *testing.T, l *lab) {
			a, b := l.node(1, short), l.node(2, short)
			var both sync.WaitGroup
			var ab, ba *Stream
			begin := make(chan bool)
			both.Go(func() { <-begin; ab = a.open(t, 2) })
			both.Go(func() { <-begin; ba = b.open(t, 1) })
			close(begin)
			both.Wait()
			if t.Failed() {
				return
			}
			// Wherever the two are, they live on while the one is chosen.
			settled := func() bool {
				for _, n := range []*labNode{a, b} {
					p, _ := n.peer(3 - n.id)
					p.mu.Lock()
					conns, current := len(p.conns), p.current
					p.mu.Unlock()
					if current == nil || conns > 1 && current.dialled != (n.id == 1) {
						return false
					}
				}
				return true
			}
			eventually(t, "one connection is chosen", settled)
			exchange(t, ab, "from a")
			exchange(t, ba, "from b")
			for _, s := range []*Stream{ab, ba} {
				s.CloseWrite()
				if _, err := io.ReadAll(s); err != nil {
					t.Errorf("old stream: %v", err)
				}
			}
			// The loser goes when it is idle, and nobody notices.
			eventually(t, "one connection is left", func() bool {
				for _, s := range []*Stream{a.open(t, 2), b.open(t, 1)} {
					exchange(t, s, "more")
					s.Close()
				}
				for _, n := range []*labNode{a, b} {
					p, _ := n.peer(3 - n.id)
					p.mu.Lock()
					conns := len(p.conns)
					p.mu.Unlock()
					if conns != 1 {
						return false
					}
				}
				return true
			})
			a.Close()
			b.Close()
		})
	}
}

func TestPreferredConnection(t *testing.T) {
	low := &peer{id: 2, node: &Node{config: Config{Self: 1}, timers: Timers{}.withDefaults()}}
	high := &peer{id: 1, node: &Node{config: Config{Self: 2}, timers: Timers{}.withDefaults()}}
	start := time.Now()
	for _, tc := range []struct {
		name string
		// Two connections: the first dialled by the lower id, or by the higher one.
		firstByLow, secondByLow bool
		apart                   time.Duration
		first                   bool // is preferred
	}{
		{"glare, low first", true, false, time.Second, true},
		{"glare, high first", false, true, time.Second, false},
		{"low lost the old one", false, true, 7 * time.Second, false},
		{"high lost the old one", true, false, 7 * time.Second, false},
		{"dialled again by low", true, true, time.Second, false},
		{"dialled again by high", false, false, time.Second, false},
	} {
		for _, p := range []*peer{low, high} {
			first := &conn{peer: p, dialled: tc.firstByLow == (p == low), since: start}
			second := &conn{peer: p, dialled: tc.secondByLow == (p == low),
				since: start.Add(tc.apart)}
			if first.prefer(second) != tc.first || second.prefer(first) == tc.first {
				t.Errorf("%s, seen by %d: first is preferred %v, second %v", tc.name,
					p.node.config.Self, first.prefer(second), second.prefer(first))
			}
		}
	}
}

// A stranger gets no further than a failed handshake, whether it speaks to a
// node's address or has no, a wrong or somebody else's certificate.
func TestStranger(t *testing.T) {
	l := newLab(t)
	a := l.node(1)
	a.onAccept(func(s *Stream) {
		t.Error("a stranger got a stream")
		s.Reset()
	})
	stranger, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for name, certificates := range map[string][]tls.Certificate{
		"no certificate": nil,
		"unknown key":    {stranger.Certificate()},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Listen(loopback())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			conn, err := s.QUIC().Dial(ctx, net.UDPAddrFromAddrPort(a.socket.LocalAddr()),
				&tls.Config{Certificates: certificates, InsecureSkipVerify: true,
					NextProtos: []string{ALPN}}, nil)
			// in TLS 1.3 the client is done before the server has seen its certificate
			if err == nil {
				hello, _ := AppendHeader(nil, header())
				var q *quic.Stream
				if q, err = conn.OpenStream(); err == nil {
					q.Write(hello)
					_, err = q.Read(make([]byte, 1))
				}
			}
			var refused *quic.TransportError
			if !errors.As(err, &refused) || !refused.ErrorCode.IsCryptoError() ||
				!refused.Remote {
				t.Errorf("got %v, want a crypto error of the far side", err)
			}
		})
	}
	t.Run("dialled node has another key", func(t *testing.T) {
		// To node 1, node 2 has the key of a stranger: the one who answers is an
		// impostor.
		b := l.node(2, func(c *Config) {
			c.Lookup = func(id uint32) (Peer,
				bool) {
				return Peer{ID: id, Key: stranger.Key()}, true
			}
			short(c)
		})
		if _, err := b.Open(context.Background(), 1, header()); !errors.Is(err,
			errWrongKey) {
			t.Errorf("got %v, want errWrongKey", err)
		}
	})
	t.Run("dialling node has another key", func(t *testing.T) {
		c := l.node(3, func(c *Config) { c.Identity = stranger; short(c) })
		if _, err := c.Open(context.Background(), 1, header()); !errors.Is(err, ErrLost) {
			t.Errorf("got %v, want ErrLost", err)
		}
	})
}

func TestOpenExisting(t *testing.T) { virtual(t, testOpenExisting) }

func testOpenExisting(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	b.onAccept(func(s *Stream) { s.Answer(StatusUnreachable) })
	if _, err := a.OpenExisting(t.Context(), 2, header()); !errors.Is(err, ErrLost) {
		t.Errorf("without a connection: got %v, want ErrLost", err)
	}
	if len(a.Paths()) != 0 {
		t.Errorf("there are paths: %v", a.Paths())
	}
	if err := a.Connect(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	var status *StatusError
	if _, err := a.OpenExisting(t.Context(), 2, header()); !errors.As(err, &status) ||
		status.Status != StatusUnreachable {
		t.Errorf("with one: got %v, want the peer's answer", err)
	}
}

func TestNoPeer(t *testing.T) { virtual(t, testNoPeer) }

func testNoPeer(t *testing.T, l *lab) {
	a := l.node(1)
	if _, err := a.Open(context.Background(), 9, header()); !errors.Is(err, ErrNoPeer) {
		t.Errorf("got %v, want ErrNoPeer", err)
	}
	if err := a.Connect(context.Background(), 1); !errors.Is(err, ErrNoPeer) {
		t.Errorf("to itself: got %v, want ErrNoPeer", err)
	}
	a.HandleSignal(9, sampleOffer().appendTo(nil)) // not known: no state is kept
	a.HandleSignal(1, []byte("nonsense"))
	if len(a.peersSnapshot()) != 0 {
		t.Error("state is kept for nobody")
	}
}

func TestNoPath(t *testing.T) { virtual(t, testNoPath) }

func testNoPath(t *testing.T, l *lab) {
	a := l.node(1, func(c *Config) { short(c); c.Timers.Connect = 300 * time.Millisecond })
	b := l.node(2, short)
	b.block()
	start := time.Now()
	_, err := a.Open(context.Background(), 2, header())
	if !errors.Is(err, ErrNoPath) {
		t.Errorf("got %v, want ErrNoPath", err)
	}
	if d := time.Since(start); d < 250*time.Millisecond || d > 5*time.Second {
		t.Errorf("after %v, want 300 ms", d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := a.Connect(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	b.unblock()
	exchange(t, a.open(t, 2), "now it works")
}

// An offer that was lost is sent again.
func TestLostOffer(t *testing.T) { virtual(t, testLostOffer) }

func testLostOffer(t *testing.T, l *lab) {
	a := l.node(1)
	l.node(2)
	l.mute.Store(true)
	time.AfterFunc(100*time.Millisecond, func() { l.mute.Store(false) })
	exchange(t, a.open(t, 2), "hello")
}

func TestConnect(t *testing.T) {
	l := newLab(t)
	a, b := l.node(1), l.node(2)
	if err := a.Connect(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	first := a.current(2)
	eventually(t, "the other side has it", func() bool { return b.current(1) != nil })
	exchange(t, a.open(t, 2), "hello")
	exchange(t, b.open(t, 1), "hello")
	if a.current(2) != first || len(a.Paths()) != 1 {
		t.Error("a second connection was made")
	}
	eventually(t, "the path is local", func() bool {
		return a.kind(2) == KindLocal &&
			a.Paths()[0].RTT > 0
	})
	info := a.Paths()[0]
	if info.ID != 2 || info.Kind != KindLocal || info.Remote != b.socket.LocalAddr() ||
		info.Local != a.socket.LocalAddr() ||
		info.RTT <= 0 || info.BytesSent == 0 || info.BytesReceived == 0 ||
		info.Since.IsZero() || !info.Connected {
		t.Errorf("path %+v", info)
	}
}

func TestRemovePeer(t *testing.T) { virtual(t, testRemovePeer) }

func testRemovePeer(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	b.block() // it is gone, and says nothing
	start := time.Now()
	a.RemovePeer(Peer{3, b.config.Identity.Key()})
	a.RemovePeer(Peer{2, a.config.Identity.Key()}) // another node that had the id
	if len(a.Paths()) != 1 {
		t.Error("another node was forgotten")
	}
	a.RemovePeer(Peer{2, b.config.Identity.Key()})
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
		t.Errorf("read: %v, want ErrLost", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("ended after %v, want at once", d)
	}
	if len(a.Paths()) != 0 || len(a.socket.routes.Load().byID) != 0 ||
		len(a.socket.routes.Load().bySource) != 0 {
		t.Error("something is left of the peer")
	}
	// It may come back.
	b.unblock()
	exchange(t, a.open(t, 2), "again")
}

// An id that another node gets, as the replacement of one that was killed does, is
// that node's alone: a connection to the old one ends, and an open that waits for the
// old one reaches the new one.
func TestReplacedPeer(t *testing.T) { virtual(t, testReplacedPeer) }

func testReplacedPeer(t *testing.T, l *lab) {
	a, old := l.node(1, short), l.node(2, short)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	old.block()
	opened := make(chan *Stream)
	go func() { opened <- a.open(t, 2) }()
	eventually(t, "the open waits for the old node", func() bool {
		c := a.current(2)
		if c == nil {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.streams) == 2
	})
	anew := l.node(2, short)
	anew.onAccept(func(s *Stream) {
		if s.Answer(StatusOK) == nil {
			io.WriteString(s, "the new one")
			s.CloseWrite()
		}
	})
	// The word that the old one is gone may come late.
	if err := a.Connect(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	a.RemovePeer(Peer{2, old.identity.Key()})
	got, err := io.ReadAll(struct{ io.Reader }{<-opened})
	if err != nil || string(got) != "the new one" {
		t.Errorf("the open reached %q, %v", got, err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
		t.Errorf("read from the old one: %v, want ErrLost", err)
	}
	old.unblock() // it was only out of touch
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if s, err := old.Open(ctx, 1, header()); err == nil {
		t.Errorf("the old one opened stream %d", s.ID())
	}
	if got, err := io.ReadAll(struct{ io.Reader }{a.open(t, 2)}); err != nil ||
		string(got) != "the new one" {
		t.Errorf("after the old one's return: %q, %v", got, err)
	}
}

// A peer that is killed is noticed in Idle.
func TestKilledPeer(t *testing.T) { virtual(t, testKilledPeer) }

func testKilledPeer(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	b.block()
	start := time.Now()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
		t.Errorf("read: %v, want ErrLost", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("noticed after %v, want 2 s", d)
	}
	if a.current(2) != nil {
		eventually(t, "the connection is gone",
			func() bool { return a.current(2) == nil })
	}
}

// Many keep-alive periods of nothing do no harm, also where the mapping of a
// NAT would have timed out.
func TestIdle(t *testing.T) { virtual(t, testIdle) }

func testIdle(t *testing.T, l *lab) {
	quick := func(c *Config) { short(c); c.Timers.KeepAlive = 20 * time.Millisecond }
	a, b := l.node(1, quick), l.node(2, quick)
	s := a.open(t, 2)
	exchange(t, s, "hello")
	before := a.current(2)
	// longer than Idle, 150 keep-alive periods: what is tested is that nothing happens
	time.Sleep(3 * time.Second)
	exchange(t, s, "still there")
	if a.current(2) != before {
		t.Error("the connection has changed")
	}
	eventually(t, "the path is local", func() bool { return b.kind(1) == KindLocal })
}

func TestRelay(t *testing.T) { virtual(t, testRelay) }

func testRelay(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	a.block(b.socket.LocalAddr())
	s := a.open(t, 2)
	exchange(t, s, "hello")
	if k := s.Kind(); k != KindRelayed || l.relayed.Load() == 0 {
		t.Errorf("kind %v with %d frames relayed, want relayed", k, l.relayed.Load())
	}
	pump(t, s, 4<<20, nil)
	// As soon as it works, the direct path is taken, by both.
	a.unblock()
	eventually(t, "the direct path is taken",
		func() bool { return a.kind(2) == KindLocal && b.kind(1) == KindLocal })
	frames := l.relayed.Load()
	pump(t, s, 1<<20, nil)
	if n := l.relayed.Load() - frames; n > 100 { // checks only
		t.Errorf("%d frames were still relayed", n)
	}
}

// pump sends bytes over an echoing stream, and compares what comes back by its
// hash. At a time it calls half, if that is not nil.
func pump(t *testing.T, s *Stream, size int, half func()) {
	t.Helper()
	sums := [2]hash.Hash{sha256.New(), sha256.New()}
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyN(sums[1], s, int64(size))
		failed <- err
	}()
	random := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 32<<10)
	for sent := 0; sent < size; sent += len(buf) {
		if half != nil && sent >= size/2 {
			half()
			half = nil
		}
		random.Read(buf)
		sums[0].Write(buf)
		if _, err := s.Write(buf); err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	if err := <-failed; err != nil {
		t.Fatalf("read: %v", err)
	}
	if !bytes.Equal(sums[0].Sum(nil), sums[1].Sum(nil)) {
		t.Fatal("other bytes came back")
	}
}

// The path goes under load, to another one and back: the stream sees nothing.
func TestPathSwitchUnderLoad(t *testing.T) { virtual(t, testPathSwitchUnderLoad) }

func testPathSwitchUnderLoad(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2) // with the real timers
	s := a.open(t, 2)
	before := a.current(2)
	pump(t, s, scaled(16<<20), func() { a.block(b.socket.LocalAddr()) })
	eventually(t, "both use the relay", func() bool {
		return a.kind(2) == KindRelayed &&
			b.kind(1) == KindRelayed
	})
	pump(t, s, scaled(16<<20), func() { a.unblock() })
	eventually(t, "both are back", func() bool {
		return a.kind(2) == KindLocal &&
			b.kind(1) == KindLocal
	})
	exchange(t, s, "the same stream")
	if a.current(2) != before || b.current(1).quic.Context().Err() != nil {
		t.Error("the connection has changed")
	}
}

// All paths fail. If one is back soon the streams live on, else they end, and the
// next one finds a path again.
func TestOutage(t *testing.T) { virtual(t, testOutage) }

func testOutage(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	s := a.open(t, 2)
	exchange(t, s, "before")
	a.block()
	time.AfterFunc(time.Second, a.unblock) // half of Idle
	exchange(t, s, "during")

	a.block()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
		t.Errorf("read: %v, want ErrLost", err)
	}
	eventually(t, "the other side has noticed",
		func() bool { return b.current(1) == nil })
	a.unblock()
	exchange(t, a.open(t, 2), "after")
}

// One direction only fails: the one who sends there has to notice.
func TestOneWayOutage(t *testing.T) { virtual(t, testOneWayOutage) }

func testOneWayOutage(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	s := a.open(t, 2)
	direct := b.socket.LocalAddr()
	f := func(remote netip.AddrPort, out bool) bool { return out && remote == direct }
	a.wire.lost.Store(&f)
	exchange(t, s, "goes by the relay")
	eventually(t, "the relay is used", func() bool { return a.kind(2) == KindRelayed })
}

// The peer was restarted, with the same key, at another address: the stale
// connection must not be in the way.
func TestStaleConnection(t *testing.T) { virtual(t, testStaleConnection) }

func testStaleConnection(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	exchange(t, a.open(t, 2), "hello")
	stale := a.current(2)
	b.block() // so that its farewell is lost
	b.Close()
	c := l.node(2, short, func(c *Config) { c.Identity = b.identity })
	c.identity = b.identity
	exchange(t, c.open(t, 1), "back again")
	exchange(t, a.open(t, 2), "by the new connection")
	if a.current(2) == stale {
		t.Error("the stale connection is in use")
	}
}

// No byte of the payload is ever sent in the clear, directly or relayed.
func TestNothingInTheClear(t *testing.T) { virtual(t, testNothingInTheClear) }

func testNothingInTheClear(t *testing.T, l *lab) {
	a, b := l.node(1, short), l.node(2, short)
	secret := []byte("PAYLOAD-THAT-NOBODY-MAY-SEE-0123456789")
	var mu sync.Mutex
	packets := 0
	look := func(p []byte, _ netip.AddrPort) {
		mu.Lock()
		defer mu.Unlock()
		packets++
		for i := 0; i+8 <= len(secret); i += 8 {
			if bytes.Contains(p, secret[i:i+8]) {
				t.Errorf("in the clear: %q", secret[i:i+8])
			}
		}
		// the header's destination
		if bytes.Contains(p, []byte("\x15\x38\x0a\x6f\x00\x03")) {
			t.Error("a header in the clear")
		}
	}
	for _, w := range []*testWire{a.wire, b.wire, l.wire} {
		w.observed.Store(&look)
	}
	for _, relayed := range []bool{true, false} {
		if relayed {
			a.block(b.socket.LocalAddr())
		} else {
			a.unblock()
		}
		s := a.open(t, 2)
		if relayed != (s.Kind() == KindRelayed) {
			eventually(t, "the direct path is taken",
				func() bool { return s.Kind() == KindLocal })
		}
		exchange(t, s, string(bytes.Repeat(secret, 1000)))
		s.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if packets < 50 {
		t.Errorf("%d packets were seen, which is too few to tell", packets)
	}
}

// Nodes without a coordinator's address do without STUN and relay.
func TestWithoutServer(t *testing.T) { virtual(t, testWithoutServer) }

func testWithoutServer(t *testing.T, l *lab) {
	none := func(c *Config) { c.Server = netip.AddrPort{} }
	a := l.node(1, none)
	l.node(2, none)
	exchange(t, a.open(t, 2), "hello")
}
