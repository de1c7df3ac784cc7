package syscalls

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// TestPortOfClosedServer has a client get the port of a server of the node's address that
// is closed: what comes for the port is the client's, whether or not the kernel has told
// yet that the server is gone.
func TestPortOfClosedServer(t *testing.T) {
	for _, told := range []bool{true, false} {
		s := boxedScript(t)
		n := s.a.node
		n.Datagrams = datagramNet{s.net}
		if !told {
			n.udp.watcher.Close()
		}
		server := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		server.bind("A:0")
		local, _, err := localName(server.fd)
		if err != nil {
			t.Fatal(err)
		}
		src, dst := netip.AddrPortFrom(addrB, 9),
			netip.AddrPortFrom(addrA, local.Addr.Port())
		if !n.DeliverDatagram(src, dst, stream.IPFields{}, []byte("first")) {
			t.Fatal("the server's port is closed")
		}
		server.close()
		if told {
			eventually(t, "the node to forget the server", func() bool {
				return len(n.udp.ports.find(dst.Port(), addrA)) == 0
			})
		}
		client := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		any := anyAddress(unix.AF_INET)
		any.Addr = netip.AddrPortFrom(any.Addr.Addr(), dst.Port())
		if err := n.udp.bindHost(&progSocket{fd: client.fd, domain: unix.AF_INET,
			typ: unix.SOCK_DGRAM}, any); err != nil {
			t.Fatal(err)
		}
		if !n.DeliverDatagram(src, dst, stream.IPFields{}, []byte("second")) {
			t.Error("the client's port is closed")
		}
		if got, err := received(client.fd); got != "second" {
			t.Errorf("told %v: the client got %q, %v", told, got, err)
		}
	}
}

// TestServerAgain has a server follow one at the same address before the kernel has told
// of the first one's end.
func TestServerAgain(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	n.Datagrams = datagramNet{s.net}
	n.udp.watcher.Close()
	first := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	first.bind("A:7000")
	id, err := cookie(first.fd)
	if err != nil {
		t.Fatal(err)
	}
	first.close()
	second := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	second.bind("A:7000")
	n.udp.datagramClosed(id) // the first one's
	src, dst := netip.AddrPortFrom(addrB, 9), s.parse("A:7000")
	if !n.DeliverDatagram(src, dst, stream.IPFields{}, []byte("hello")) {
		t.Error("the second server's port is closed")
	}
	if got, err := received(second.fd); got != "hello" {
		t.Errorf("the second server got %q, %v", got, err)
	}
}

// TestProbesApart has the node probe an address while a program binds a socket to it, and
// while it probes elsewhere: neither takes the probe's socket for somebody's.
func TestProbesApart(t *testing.T) {
	kernel := netip.AddrPortFrom(boxedScript(t).a.node.Aliases.Private, 7000)
	probesUntilTheEnd(t, kernel)
	for i := range 1000 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = bindTo(fd, unix.AF_INET, kernel)
		unix.Close(fd)
		if err != nil {
			t.Fatalf("bind %d: %v", i, err)
		}
		if err := probe(unix.SOCK_DGRAM, -1, kernel); err != nil {
			t.Fatalf("probe %d: %v", i, err)
		}
	}
}

// TestEndWronglyGuessed has a socket that was taken for closed, since it was connected to
// the outside when the node looked: it is the program's again with the next call.
func TestEndWronglyGuessed(t *testing.T) {
	u := udpSockets{}
	at := netip.MustParseAddrPort("127.0.0.1:1")
	u.note(at, 7)
	u.end(7)
	u.note(at, 7)
	if len(u.closed) != 0 || !u.has(at, 7) {
		t.Errorf("the socket will be forgotten: %v", u.closed)
	}
}

// TestConnectToTakenFlow has a flow lose its socket between the moment when connect(2)
// looks for it and the one when the program's socket is connected to it.
func TestConnectToTakenFlow(t *testing.T) {
	s, _ := datagramPair(t)
	client := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	n := s.a.node
	fl, err := n.udp.flowTo(s.parse("B:7000"), holder{})
	if err != nil {
		t.Fatal(err)
	}
	if err := connectTo(client.fd, unix.AF_INET, fl.local); err != nil {
		t.Fatal(err)
	}
	n.udp.flows.mu.Lock()
	n.udp.flows.closeLocked(fl)
	n.udp.flows.mu.Unlock()
	if n.udp.pin(&progSocket{fd: client.fd}, fl.local) {
		t.Error("the socket is connected to a flow that has none")
	}
	client.connect("B:7000")
	n.udp.flows.mu.Lock()
	defer n.udp.flows.mu.Unlock()
	if fl.token == 0 || fl.pins != 1 {
		t.Errorf("the flow has token %d and %d connected sockets", fl.token, fl.pins)
	}
}

// TestFlowTellsOfEarlierOne delivers a datagram by a flow to which the kernel has just
// said that another port is closed: the datagram is not lost for that.
func TestFlowTellsOfEarlierOne(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	n.Datagrams = datagramNet{s.net}
	server := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	server.bind("A:7000")
	fl, err := n.udp.flowTo(netip.AddrPortFrom(addrB, 9), holder{})
	if err != nil {
		t.Fatal(err)
	}
	closed := netip.AddrPortFrom(n.Aliases.Public, 7001)
	at := netip.AddrPortFrom(n.Aliases.Public, 7000)
	for i := range 100 {
		n.udp.hand(fl, closed, stream.IPFields{}, []byte("to nobody"))
		n.udp.hand(fl, at, stream.IPFields{}, []byte("hello"))
		if got, err := received(server.fd); got != "hello" {
			t.Fatalf("datagram %d: the server got %q, %v", i, got, err)
		}
	}
}

// TestProbeTakesNothing has a program send to a closed port while the node probes it:
// each datagram is refused.
func TestProbeTakesNothing(t *testing.T) {
	kernel := netip.AddrPortFrom(boxedScript(t).a.node.Aliases.Private, 7000)
	client, _ := udpAt(t, unix.AF_INET, netip.AddrPortFrom(localhost4, 0))
	defer unix.Close(client)
	if err := connectTo(client, unix.AF_INET, kernel); err != nil {
		t.Fatal(err)
	}
	probesUntilTheEnd(t, kernel)
	for i := range 2000 {
		if _, err := unix.Write(client, []byte("to nobody")); err != nil {
			t.Fatal(err)
		}
		if e, err := unix.GetsockoptInt(client, unix.SOL_SOCKET,
			unix.SO_ERROR); err != nil ||
			unix.Errno(e) != unix.ECONNREFUSED {
			t.Fatalf("datagram %d: SO_ERROR is %v, %v", i, unix.Errno(e), err)
		}
	}
}

// probesUntilTheEnd has a goroutine probe an address until the test ends.
func probesUntilTheEnd(t *testing.T, kernel netip.AddrPort) {
	var probing sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		probing.Wait()
	})
	for range 2 {
		probing.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					probe(unix.SOCK_DGRAM, -1, kernel)
				}
			}
		})
	}
}

// TestClientOfClosedServer has clients send to a server of localhost at the moment when
// it is closed: each is refused. A while later they are connected to where the host's own
// server would be.
func TestClientOfClosedServer(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	n.CopyFD = func(_, fd int) (int, error) {
		return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	var clients []*sock
	for i := range 100 {
		server := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		server.bind("127.0.0.1:7000")
		client := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		client.connect("127.0.0.1:7000")
		server.close()
		for range 20 * i { // so that the kernel tells of the end now or then
			unix.Getpid()
		}
		if _, err := unix.Write(client.fd, []byte("to nobody")); err != nil {
			t.Fatal(err)
		}
		if e, err := unix.GetsockoptInt(client.fd, unix.SOL_SOCKET,
			unix.SO_ERROR); err != nil ||
			unix.Errno(e) != unix.ECONNREFUSED {
			t.Fatalf("client %d: SO_ERROR is %v, %v", i, unix.Errno(e), err)
		}
		clients = append(clients, client)
	}
	for i, client := range clients {
		eventually(t, "the client to be connected elsewhere", func() bool {
			peer, _, err := remoteName(client.fd)
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			return peer.Addr.Addr() == localhost4
		})
	}
}
