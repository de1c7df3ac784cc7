package syscalls

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// datagramPair is two nodes of one network, with a server of the second one at port 7000.
func datagramPair(t *testing.T) (s *script, server *sock) {
	s = boxedScript(t)
	s.a.node.Datagrams, s.b.node.Datagrams = datagramNet{s.net}, datagramNet{s.net}
	server = s.open(s.b, unix.AF_INET, unix.SOCK_DGRAM)
	server.bind("0.0.0.0:7000")
	return s, server
}

// TestConnectedFlowStays has another host send from more ports than there are flows with
// a socket, and time go by: a program's socket that is connected to a peer, and of which
// the peer never answers, still reaches it.
func TestConnectedFlowStays(t *testing.T) {
	s, server := datagramPair(t)
	client, open := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM),
		s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	client.connect("B:7000")
	open.bind("0.0.0.0:9")
	f := &s.a.node.udp.flows
	most := mostLoose()
	for i := range most + 100 {
		src := netip.AddrPortFrom(addrB, uint16(20000+i))
		if !s.a.node.DeliverDatagram(src, netip.AddrPortFrom(addrA, 9), stream.IPFields{}, []byte("x")) {
			t.Fatal("the program's port is closed")
		}
	}
	f.mu.Lock()
	sockets, loose := len(f.byToken), f.looses
	f.expireLocked(time.Now())
	left := len(f.byToken)
	f.mu.Unlock()
	if sockets != most+1 || loose != most || left != 1 {
		t.Errorf("%d flows had a socket, %d of them not connected; %d were left after a "+
			"while; want %d, %d, 1", sockets, loose, left, most+1, most)
	}
	if _, err := unix.Write(client.fd, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	server.readable()
	if got, err := received(server.fd); got != "still here" {
		t.Errorf("the server got %q, %v", got, err)
	}
	client.close()
	eventually(t, "the flow to have no connected socket", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.looses == 1 && len(f.pins) == 0
	})
}

// TestIdleFlowExpires has three flows of which nothing was heard for long: one to which a
// program's socket is connected, one that is used again before the sweep, and one that
// then loses its socket.
func TestIdleFlowExpires(t *testing.T) {
	s, _ := datagramPair(t)
	client := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	client.connect("B:7000")
	u := s.a.node.udp
	flowOf := func(port uint16) *flow {
		t.Helper()
		fl, err := u.flowTo(netip.AddrPortFrom(addrB, port), holder{})
		if err != nil {
			t.Fatal(err)
		}
		return fl
	}
	connected, used, idle := flowOf(7000), flowOf(7001), flowOf(7002)
	u.flows.mu.Lock()
	for _, fl := range []*flow{connected, used, idle} {
		fl.used = time.Now().Add(-flowIdle - time.Second)
	}
	u.flows.mu.Unlock()
	flowOf(7001)
	u.sweepFlows()
	u.flows.mu.Lock()
	defer u.flows.mu.Unlock()
	for _, tc := range []struct {
		name string
		fl   *flow
		open bool
	}{{"connected", connected, true}, {"used", used, true}, {"idle", idle, false}} {
		if open := tc.fl.token != 0; open != tc.open {
			t.Errorf("the %s flow has a socket: %t, want %t", tc.name, open, tc.open)
		}
	}
	if len(u.flows.byToken) != 2 || u.flows.dormant.Len() != 1 {
		t.Errorf("%d flows have a socket and %d have none, want 2 and 1",
			len(u.flows.byToken), u.flows.dormant.Len())
	}
}

// maxFlowMemory is what a flow may take of the supervisor's memory, in bytes.
const maxFlowMemory = 4096

// TestFlowMemory measures what an idle flow takes: its share of the heap and of stacks,
// one descriptor, and no goroutine.
func TestFlowMemory(t *testing.T) {
	s, _ := datagramPair(t)
	u := s.a.node.udp
	make1 := func(port int) {
		t.Helper()
		src := netip.AddrPortFrom(addrB, uint16(port))
		if _, err := u.flowTo(src, holder{tid: port, fd: port}); err != nil {
			t.Fatal(err)
		}
	}
	make1(1) // starts what all flows share
	flows := min(2000, mostLoose()/2)
	before, routines, files := memoryInUse(), runtime.NumGoroutine(), openFiles(t)
	for i := range flows {
		make1(1000 + i)
	}
	each := (memoryInUse() - before) / flows
	t.Logf("%d bytes a flow", each)
	if each > maxFlowMemory {
		t.Errorf("a flow takes %d bytes, want %d at most", each, maxFlowMemory)
	}
	if n := runtime.NumGoroutine() - routines; n > flows/100 {
		t.Errorf("%d flows have %d goroutines", flows, n)
	}
	if n := openFiles(t) - files; n != flows {
		t.Errorf("%d flows have %d descriptors", flows, n)
	}
}

// memoryInUse returns the bytes of the heap's live objects and of stacks.
func memoryInUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// openFiles returns the number of the process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestDormantFlow has a datagram in a program's queue whose flow has lost its socket: its
// source is known, and an answer arrives, from the same address as before.
func TestDormantFlow(t *testing.T) {
	s, server := datagramPair(t)
	client := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	client.connect("B:7000")
	if _, err := unix.Write(client.fd, []byte("question")); err != nil {
		t.Fatal(err)
	}
	server.readable()
	n := s.b.node
	n.udp.flows.mu.Lock()
	n.udp.flows.expireLocked(time.Now())
	left := len(n.udp.flows.byToken)
	n.udp.flows.mu.Unlock()
	if left != 0 {
		t.Fatalf("%d flows have a socket", left)
	}
	var b [64]byte
	_, sa, err := unix.Recvfrom(server.fd, b[:], unix.MSG_DONTWAIT)
	if err != nil {
		t.Fatal(err)
	}
	kernel, _, _ := sockaddrAddrPort(sa)
	peer := n.udp.datagramSource(abi.Sockaddr{Addr: kernel}).Addr
	if peer.Addr() != addrA {
		t.Fatalf("the question is from %v", peer)
	}
	fl, err := n.udp.flowTo(peer, holder{})
	if err != nil {
		t.Fatal(err)
	}
	if fl.local != kernel {
		t.Errorf("the flow is at %v now, and was at %v", fl.local, kernel)
	}
	if err := unix.Sendto(server.fd, []byte("answer"), 0, sa); err != nil {
		t.Fatal(err)
	}
	client.readable()
	if got, err := received(client.fd); got != "answer" {
		t.Errorf("the client got %q, %v", got, err)
	}
}

// TestFlowsMakeRoom has flows with sockets of several hosts, of which one has the most.
func TestFlowsMakeRoom(t *testing.T) {
	s, _ := datagramPair(t)
	n := s.a.node
	to := func(host byte, port int) *flow {
		t.Helper()
		peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 111, 9, host}),
			uint16(port))
		fl, err := n.udp.flowTo(peer, holder{})
		if err != nil {
			t.Fatal(err)
		}
		return fl
	}
	few := []*flow{to(1, 1), to(2, 1)}
	var many []*flow
	for port := range 5 {
		many = append(many, to(3, port+1))
	}
	to(3, 1) // is used again
	n.udp.flows.mu.Lock()
	n.udp.flows.takeOneLocked(few[0].peer.Addr())
	n.udp.flows.takeOneLocked(few[0].peer.Addr())
	var got string
	for _, fl := range append(few, many...) {
		got += fmt.Sprint(" ", fl.token != 0)
	}
	n.udp.flows.mu.Unlock()
	if want := " true true true false false true true"; got != want {
		t.Errorf("with a socket:%s, want%s", got, want)
	}
}

// TestDormantFlowKept has a flow that gets its socket back when there is no room for one
// more, neither with a socket nor without: it is not the one that is dropped.
func TestDormantFlowKept(t *testing.T) {
	s, _ := datagramPair(t)
	n := s.a.node
	f := &n.udp.flows
	peer, other := netip.AddrPortFrom(addrB, 20000), netip.AddrPortFrom(addrB, 20001)
	fl, err := n.udp.flowTo(peer, holder{})
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.expireLocked(time.Now())
	f.mu.Unlock()
	if _, err := n.udp.flowTo(other, holder{}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	for f.dormant.Len() < maxDormant {
		each := &flow{fd: -1}
		each.place = f.dormant.PushBack(each)
	}
	f.looses += mostLoose()
	f.mu.Unlock()
	again, err := n.udp.flowTo(peer, holder{})
	if err != nil || again != fl {
		t.Fatalf("another flow: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looses -= mostLoose()
	if f.byPeer[peer] != fl || f.byLocal[fl.local] != fl || fl.token == 0 {
		t.Error("the flow has a socket, and is not known")
	}
	// the other one for one of the many; without fl
	if got := f.dormant.Len(); got != maxDormant-1 {
		t.Errorf("%d flows have no socket", got)
	}
}

// TestEndOfDatagramMissed has the kernel tell of the end of more sockets than its queue
// holds: the node looks which are still there.
func TestEndOfDatagramMissed(t *testing.T) {
	s, _ := datagramPair(t)
	client, stays := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM),
		s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	client.connect("B:7000")
	stays.connect("B:7000")
	n := s.a.node
	n.udp.watcher.Close() // nobody tells it of the end
	client.close()
	known := len(n.udp.sockets.known())
	n.udp.datagramsMissed()
	n.udp.flows.mu.Lock()
	pins := len(n.udp.flows.pins)
	n.udp.flows.mu.Unlock()
	n.udp.sockets.mu.Lock()
	ended := len(n.udp.sockets.closed)
	n.udp.sockets.mu.Unlock()
	if pins != 1 || ended != 1 || known < 2 {
		t.Errorf("%d sockets are connected to the flow, %d of %d sockets ended; want 1, 1, 2 or more", pins, ended, known)
	}
}
