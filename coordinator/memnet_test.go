package coordinator

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
	"github.com/boxer-sandbox/boxer/transport"
)

// memLatency is the one-way delay of the network in memory.
const memLatency = time.Millisecond

// memNet is a UDP network in memory, for tests in virtual time: a read from a socket
// of the kernel would keep the time of a synctest bubble from advancing. The tests of
// this package run one after the other, so one network serves them all.
var memNet struct {
	sync.Mutex
	used  bool // the running test is in virtual time
	conns map[netip.AddrPort]*memConn
	port  uint16 // the last one that was given out
}

// virtualTime runs f in a synctest bubble. Sockets that f opens by listenSocket and
// listenPacket are in memory. The bubble ends only when all its goroutines have ended,
// so that f needs no noLeaks.
func virtualTime(t *testing.T, f func(t *testing.T)) {
	// quic-go warns about the receive buffer once per process, on stderr.
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	memNet.used, memNet.conns = true, make(map[netip.AddrPort]*memConn)
	defer func() { memNet.used = false }()
	virtualtime.Test(t, f)
}

// A memConn is a net.PacketConn of memNet.
type memConn struct {
	addr netip.AddrPort

	mu       sync.Mutex
	changed  *sync.Cond
	queue    []memPacket
	deadline time.Time // of reads; zero: none
	closed   bool
	muted    bool // what is written is lost
}

type memPacket struct {
	data    []byte
	from    netip.AddrPort
	arrives time.Time
}

// listenMem opens a socket at addr. It gives out a port if that of addr is 0, and
// returns nil if another socket has the address.
func listenMem(addr netip.AddrPort) *memConn {
	memNet.Lock()
	defer memNet.Unlock()
	if addr.Port() == 0 {
		memNet.port = max(memNet.port+1, 1024)
		addr = netip.AddrPortFrom(addr.Addr(), memNet.port)
	}
	if memNet.conns[addr] != nil {
		return nil
	}
	c := &memConn{addr: addr}
	c.changed = sync.NewCond(&c.mu)
	memNet.conns[addr] = c
	return c
}

// ReadFrom returns the next datagram that has arrived.
func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case c.closed:
			return 0, nil, net.ErrClosed
		case !c.deadline.IsZero() && !now.Before(c.deadline):
			return 0, nil, os.ErrDeadlineExceeded
		case len(c.queue) > 0 && !now.Before(c.queue[0].arrives):
			p := c.queue[0]
			c.queue = c.queue[1:]
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
		}
		c.changed.Wait()
	}
}

// WriteTo sends a datagram. It is lost where nobody listens, as on the Internet.
func (c *memConn) WriteTo(b []byte, to net.Addr) (int, error) {
	memNet.Lock()
	peer := memNet.conns[addrPortOf(to)]
	memNet.Unlock()
	c.mu.Lock()
	closed, muted := c.closed, c.muted
	c.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case peer == nil || muted:
		return len(b), nil
	}
	peer.mu.Lock()
	defer peer.mu.Unlock()
	peer.queue = append(peer.queue,
		memPacket{slices.Clone(b), c.addr, time.Now().Add(memLatency)})
	time.AfterFunc(memLatency, peer.changed.Broadcast)
	return len(b), nil
}

// mute loses what is written from now on, and gives the address up.
func (c *memConn) mute() {
	c.unlisten()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.muted = true
}

// freeze loses what is written, and what comes in, until it is called with false.
func (c *memConn) freeze(frozen bool) {
	if frozen {
		c.mute()
		return
	}
	memNet.Lock()
	memNet.conns[c.addr] = c
	memNet.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.muted = false
}

func (c *memConn) unlisten() {
	memNet.Lock()
	defer memNet.Unlock()
	if memNet.conns[c.addr] == c {
		delete(memNet.conns, c.addr)
	}
}

func (c *memConn) Close() error {
	c.unlisten()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed.Broadcast()
	return nil
}

func (c *memConn) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = at
	c.changed.Broadcast()
	if !at.IsZero() {
		time.AfterFunc(time.Until(at), c.changed.Broadcast)
	}
	return nil
}

func (c *memConn) SetDeadline(at time.Time) error   { return c.SetReadDeadline(at) }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.addr) }

// A memSocket is a ServerSocket of memNet that carries QUIC only.
type memSocket struct {
	conn *memConn
	quic *quic.Transport
}

func newMemSocket(conn *memConn) *memSocket {
	return &memSocket{conn, &quic.Transport{Conn: conn}}
}

func (s *memSocket) QUIC() *quic.Transport                         { return s.quic }
func (s *memSocket) LocalAddr() netip.AddrPort                     { return s.conn.addr }
func (s *memSocket) Detour(netip.AddrPort, netip.AddrPort, bool)   {}
func (s *memSocket) ServeSTUN()                                    {}
func (s *memSocket) HandleRelay(func([]byte, netip.AddrPort))      {}
func (s *memSocket) HandleIndication(func([]byte, netip.AddrPort)) {}
func (s *memSocket) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

func (s *memSocket) Close() error {
	s.quic.Close()
	return s.conn.Close()
}

// A labSocket is a socket of a test: of the kernel, or in memory.
type labSocket interface {
	ServerSocket
	Close() error
}

// listenSocket opens a socket on loopback.
func listenSocket(t testing.TB) labSocket {
	t.Helper()
	if memNet.used {
		return newMemSocket(listenMem(loopback))
	}
	s, err := transport.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listenState opens the socket of a coordinator, as State.Listen does.
func listenState(t testing.TB, state *State) labSocket {
	t.Helper()
	if memNet.used {
		if c := listenMem(netip.AddrPortFrom(loopback.Addr(), state.LastListen().Port())); c != nil {
			return newMemSocket(c)
		}
		return newMemSocket(listenMem(loopback))
	}
	s, err := state.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listenPacket opens a plain socket on loopback.
func listenPacket(t *testing.T) net.PacketConn {
	t.Helper()
	if memNet.used {
		return listenMem(loopback)
	}
	return listenUDP(t)
}

// The network in memory keeps the order of datagrams, delays them, and ends reads at
// their deadline.
func TestMemNet(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		a, b := listenMem(loopback), listenMem(loopback)
		began := time.Now()
		for _, s := range []string{"one", "two"} {
			if _, err := a.WriteTo([]byte(s), b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 10)
		for _, want := range []string{"one", "two"} {
			n, from, err := b.ReadFrom(buf)
			if err != nil || string(buf[:n]) != want || addrPortOf(from) != a.addr {
				t.Fatalf("got %q from %v, %v; want %q", buf[:n], from, err, want)
			}
		}
		if d := time.Since(began); d != memLatency {
			t.Errorf("it took %v, want %v", d, memLatency)
		}
		_ = b.SetReadDeadline(time.Now().Add(time.Hour))
		if _, _, err := b.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) ||
			time.Since(began) != time.Hour+memLatency {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		b.Close()
		a.mute()
		if c := listenMem(a.addr); c == nil {
			t.Error("a muted socket keeps its address")
		}
	})
}
