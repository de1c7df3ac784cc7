package coordinator

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// frameTo is a relay frame for a node, as a node sends it.
func frameTo(id uint32, packet string) []byte {
	return append(transport.AppendRelayHeader(nil, id), packet...)
}

// A relayed frame goes from member to member, and says who it is from; a
// stranger's goes nowhere. The members' frames are made by hand, on the sockets
// that their QUIC connections use.
func TestRelay(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{})
	u := l.url(t)
	a, b := mustEnter(t, u, "a"), mustEnter(t, u, "b")
	got := make(chan []byte, 10)
	b.socket.HandleRelay(func(frame []byte, from netip.AddrPort) {
		if from == l.cfg.Socket.LocalAddr() {
			got <- bytes.Clone(frame)
		}
	})
	server := l.cfg.Socket.LocalAddr()
	stranger := listenUDP(t)
	defer stranger.Close()
	// Sent before the good one, on the same loopback: what came through would
	// come first.
	for _, frame := range [][]byte{frameTo(b.Self().ID, "stranger"),
		frameTo(b.Self().ID, ""), frameTo(99, "nobody"), {0x2b}} {
		if _, err := stranger.WriteToUDPAddrPort(frame, server); err != nil {
			t.Fatal(err)
		}
	}
	unjoined := newStranger(t, l) // has a QUIC connection, and was not admitted
	if err := unjoined.socket.WriteTo(frameTo(b.Self().ID, "unjoined"),
		server); err != nil {
		t.Fatal(err)
	}
	if err := a.socket.WriteTo(frameTo(99, "nobody"), server); err != nil {
		t.Fatal(err)
	}
	if err := a.socket.WriteTo(frameTo(b.Self().ID, "hello"), server); err != nil {
		t.Fatal(err)
	}
	select {
	case frame := <-got:
		id, packet, err := transport.ParseRelayFrame(frame)
		if err != nil || id != a.Self().ID || string(packet) != "hello" {
			t.Errorf("got %q from %d (%v)", packet, id, err)
		}
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	// Who has left is no member any more.
	a.Close()
	b.sees(t, a.Self().ID, false)
	if err := a.socket.WriteTo(frameTo(b.Self().ID, "left"), server); err != nil {
		t.Fatal(err)
	}
	c := mustEnter(t, u, "c")
	if err := c.socket.WriteTo(frameTo(b.Self().ID, "last"), server); err != nil {
		t.Fatal(err)
	}
	select {
	case frame := <-got:
		if _, packet, _ := transport.ParseRelayFrame(frame); string(packet) != "last" {
			t.Errorf("got %q", packet)
		}
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	a.socket.Close()
}

// The relay follows a node whose NAT gives it another address, and so does the
// node's own knowledge of it; the node stays a member all the while.
func TestNodeMoves(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{Lease: 2 * time.Second})
	u := l.url(t)
	w := newWire(t, l.cfg.Socket.LocalAddr())
	through := u
	through.Host = w.addr.String()
	a, b := mustEnter(t, through, "a"), mustEnter(t, u, "b")
	got := make(chan []byte, 1000)
	b.socket.HandleRelay(func(frame []byte, _ netip.AddrPort) { got <- bytes.Clone(frame) })
	if before := a.Reflexive(); before == a.socket.LocalAddr() {
		t.Fatalf("the wire is not between: %v", before)
	}
	moved := w.rebind(t)
	deadline := time.Now().Add(patience)
	for a.Reflexive() != moved {
		if time.Now().After(deadline) {
			t.Fatalf("a believes to be at %v, is at %v", a.Reflexive(), moved)
		}
		time.Sleep(time.Millisecond)
	}
	if err := a.socket.WriteTo(frameTo(b.Self().ID, "moved"), w.addr); err != nil {
		t.Fatal(err)
	}
	select {
	case frame := <-got:
		if id, packet, _ := transport.ParseRelayFrame(frame); id != a.Self().ID ||
			string(packet) != "moved" {
			t.Errorf("got %q from %d", packet, id)
		}
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	if h := b.history(a.Self().ID); len(h) > 1 {
		t.Errorf("b was told %v of a", h)
	}
}

func TestRoutes(t *testing.T) {
	r := newRelayTable()
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }
	r.set(1, at(1))
	r.set(2, at(2))
	if id, to, ok := r.lookup(at(1), 2); !ok || id != 1 || to != at(2) {
		t.Errorf("1 to 2: %d, %v, %v", id, to, ok)
	}
	r.set(3, at(1)) // a NAT gave 1's place to 3
	if _, _, ok := r.lookup(at(2), 1); ok {
		t.Error("1 is still reached where 3 is")
	}
	if id, _, _ := r.lookup(at(1), 2); id != 3 {
		t.Errorf("packets of 3 are said to be of %d", id)
	}
	r.drop(1) // says nothing about 3
	if id, _, ok := r.lookup(at(1), 2); !ok || id != 3 {
		t.Errorf("3 to 2: %d, %v", id, ok)
	}
	r.set(2, at(4))
	if _, _, ok := r.lookup(at(2), 3); ok {
		t.Error("2 has moved, and its old address still counts")
	}
	r.drop(2)
	if _, _, ok := r.lookup(at(1), 2); ok {
		t.Error("2 is gone, and still reached")
	}
}

// The relay's path has no allocation.
func TestRelayAllocates(t *testing.T) {
	socket, err := transport.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	sink := listenUDP(t)
	defer sink.Close()
	s := &Server{cfg: ServerConfig{Socket: socket}, relays: newRelayTable()}
	from := netip.MustParseAddrPort("192.0.2.1:1")
	s.relays.set(1, from)
	s.relays.set(2, sink.LocalAddr().(*net.UDPAddr).AddrPort())
	frame := frameTo(2, "packet")
	n := testing.AllocsPerRun(100, func() {
		transport.SetRelayID(frame, 2)
		s.relay(frame, from)
	})
	if n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
