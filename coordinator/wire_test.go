package coordinator

import (
	"net"
	"net/netip"
	"sync"
	"testing"
)

// A wire is a NAT between one node and the coordinator: the node sends to Addr,
// the coordinator sees the packets come from another port. It can be cut, and can
// forget its mapping.
type wire struct {
	addr   netip.AddrPort // where the node sends to
	server netip.AddrPort
	inner  net.PacketConn

	mu    sync.Mutex
	outer net.PacketConn
	node  net.Addr
	cut   bool
	all   sync.WaitGroup
}

func newWire(t *testing.T, server netip.AddrPort) *wire {
	t.Helper()
	w := &wire{server: server, inner: listenPacket(t)}
	w.addr = addrPortOf(w.inner.LocalAddr())
	w.rebind(t)
	w.all.Go(w.out)
	t.Cleanup(func() {
		w.inner.Close()
		w.mu.Lock()
		w.outer.Close()
		w.mu.Unlock()
		w.all.Wait()
	})
	return w
}

func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rebind gives the node another address, and returns it.
func (w *wire) rebind(t *testing.T) netip.AddrPort {
	t.Helper()
	c := listenPacket(t)
	w.mu.Lock()
	if w.outer != nil {
		w.outer.Close()
	}
	w.outer = c
	w.mu.Unlock()
	w.all.Go(func() { w.in(c) })
	return addrPortOf(c.LocalAddr())
}

// sever cuts the wire, or joins it again.
func (w *wire) sever(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

func (w *wire) out() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := w.inner.ReadFrom(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.node = from
		if !w.cut {
			_, _ = w.outer.WriteTo(b[:n], net.UDPAddrFromAddrPort(w.server))
		}
		w.mu.Unlock()
	}
}

func (w *wire) in(c net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		if !w.cut {
			_, _ = w.inner.WriteTo(b[:n], w.node)
		}
		w.mu.Unlock()
	}
}
