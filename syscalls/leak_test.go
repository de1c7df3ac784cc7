package syscalls

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNothingLeaks makes many connections, that end in all ways, one after the other.
// Afterwards there are no more descriptors, goroutines and table entries than before.
func TestNothingLeaks(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	own := s.listener(s.a, "0.0.0.0:7001")
	round := func() {
		s.lines = nil
		k := s.tcp(s.a)
		k.connect("B:7000")
		server := l.accept(0)
		talk(k, server)

		k = s.tcp(s.a) // refused
		k.connect("B:7009")
		k.close()

		k = s.tcpNB(s.a) // reset
		k.connect("B:7000")
		k.pollFor(unix.POLLOUT, 10000)
		server = l.accept(0)
		k.resetOnClose()
		k.close()
		server.read()
		server.close()

		k = s.tcpNB(s.a) // never asks for the error
		k.connect("B:7009")
		k.pollFor(unix.POLLOUT, 10000)
		k.close()

		k = s.tcp(s.a) // to itself
		k.connect("127.0.0.1:7001")
		server = own.accept(0)
		talk(k, server)

		k = s.tcp(s.a) // a port of any number
		k.bind("127.0.0.1:0")
		k.listen(1)
		k.close()
		k = s.tcp6(s.a)
		k.bind("[::1]:7002")
		k.listen(1)
		k.close()
	}
	round()
	settled := func() bool {
		return s.a.node.entries() == noEntries &&
			s.b.node.entries() == noEntries
	}
	eventually(t, "the connections have ended", settled)
	before := takeStock(t)
	for range 100 { // 5 connections each
		round()
	}
	eventually(t, fmt.Sprintf("nothing is left of %s and %s", s.a.node.entries(),
		s.b.node.entries()), settled)
	before.compare(t)
	if n := len(s.a.node.pendingConnects.m); n > 2*101 {
		t.Errorf("%d errors that nobody asked for are kept", n)
	}
	p := &s.a.node.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.moved) > 2 || len(p.requested) > 2 {
		t.Errorf("%d ports are moved, %d wished for", len(p.moved), len(p.requested))
	}
}
