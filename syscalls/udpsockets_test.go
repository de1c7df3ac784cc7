package syscalls

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// received returns what a socket has got, without waiting: on loopback a datagram is
// there when the call that sends it returns.
func received(fd int) (string, error) {
	var b [64]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT)
	return string(b[:max(n, 0)]), err
}

// TestOthersPort has a process outside of the node take a UDP port that a program has
// closed: what the network sends there is not for it.
func TestOthersPort(t *testing.T) {
	for _, tc := range []struct {
		name, bound string
		others      netip.Addr // where the other process binds
	}{
		{"any port", "0.0.0.0:0", localhost4},
		{"any port, on all addresses", "0.0.0.0:0", netip.IPv4Unspecified()},
		{"a port", "0.0.0.0:7000", netip.IPv4Unspecified()},
		{"a port of the node's address", "A:7000", netip.IPv4Unspecified()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			n := s.a.node
			n.Datagrams = datagramNet{s.net}
			k := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
			k.bind(tc.bound)
			local, _, err := localName(k.fd)
			if err != nil {
				t.Fatal(err)
			}
			kernel := sourceOf(local)
			src, dst := netip.AddrPortFrom(addrB, 9),
				netip.AddrPortFrom(addrA, n.udp.ports.programPort(kernel))
			if !n.DeliverDatagram(src, dst, stream.IPFields{}, []byte("first")) {
				t.Error("the program's port is closed")
			}
			if got, err := received(k.fd); got != "first" {
				t.Errorf("the program got %q, %v", got, err)
			}
			k.close()
			other, _ := udpAt(t, unix.AF_INET,
				netip.AddrPortFrom(tc.others, kernel.Port()))
			defer unix.Close(other)
			if n.DeliverDatagram(src, dst, stream.IPFields{}, []byte("second")) {
				t.Error("the node has taken a datagram for another process's port")
			}
			if got, err := received(other); !errors.Is(err, unix.EAGAIN) {
				t.Errorf("another process got %q, %v", got, err)
			}
		})
	}
}

// TestOthersDatagrams has processes outside of the node send to a flow, which carries
// what programs send there and nothing else.
func TestOthersDatagrams(t *testing.T) {
	s := boxedScript(t)
	a, b := s.a.node, s.b.node
	a.Datagrams, b.Datagrams = datagramNet{s.net}, datagramNet{s.net}
	server, client := s.open(s.b, unix.AF_INET, unix.SOCK_DGRAM),
		s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	server.bind("0.0.0.0:7000")
	client.connect("B:7000")
	peer, _, err := remoteName(client.fd)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []netip.Addr{localhost4, a.Aliases.Public, a.Aliases.Wildcard} {
		other, _ := udpAt(t, unix.AF_INET, netip.AddrPortFrom(at, 0))
		defer unix.Close(other)
		if err := unix.Sendto(other, []byte("not a program's"), 0,
			kernelSockaddr(unix.AF_INET, peer.Addr)); err != nil {
			t.Fatal(err)
		}
	}
	// A flow carries in order: what comes first now is all that came before.
	if _, err := unix.Write(client.fd, []byte("a program's")); err != nil {
		t.Fatal(err)
	}
	server.readable()
	if got, err := received(server.fd); got != "a program's" {
		t.Errorf("the server got %q, %v", got, err)
	}
	if got, err := received(server.fd); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the server got %q, too, %v", got, err)
	}
}

// TestClosedSender closes a connected socket right after it has sent, as a program does
// that logs and ends: what it sent is carried.
func TestClosedSender(t *testing.T) {
	s := boxedScript(t)
	s.a.node.Datagrams, s.b.node.Datagrams = datagramNet{s.net}, datagramNet{s.net}
	server := s.open(s.b, unix.AF_INET, unix.SOCK_DGRAM)
	server.bind("0.0.0.0:7000")
	for range 50 {
		client := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		client.connect("B:7000")
		if _, err := unix.Write(client.fd, []byte("last words")); err != nil {
			t.Fatal(err)
		}
		client.close()
		server.readable()
		if got, err := received(server.fd); got != "last words" {
			t.Fatalf("the server got %q, %v", got, err)
		}
	}
	eventually(t, "the node to forget closed sockets", func() bool {
		u := &s.a.node.udp.sockets
		u.had(netip.AddrPort{})
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.at)+len(u.open)+len(u.closed) == 0
	})
}

// TestUDPSocketsBound has more sockets at an address than are remembered.
func TestUDPSocketsBound(t *testing.T) {
	for _, tc := range []struct {
		deaf  bool
		limit int
	}{{false, maxUDPShared}, {true, maxUDPDeaf}} {
		u := udpSockets{deaf: tc.deaf}
		at, other := netip.MustParseAddrPort("127.0.0.1:1"),
			netip.MustParseAddrPort("127.0.0.1:2")
		u.note(other, 0)
		for cookie := range uint64(tc.limit + 1) {
			u.note(at, cookie)
		}
		if u.has(at, 0) || u.has(other, 0) || !u.has(at, 1) ||
			!u.has(at, uint64(tc.limit)) {
			t.Errorf("deaf %v: the oldest is not the one that was forgotten", tc.deaf)
		}
		if len(u.at[at]) != tc.limit || len(u.open) != tc.limit {
			t.Errorf("deaf %v: %d sockets are remembered, want %d", tc.deaf,
				len(u.at[at]), tc.limit)
		}
		u.forget(at)
		if len(u.at)+len(u.open) != 0 {
			t.Errorf("deaf %v: %v, %v are left", tc.deaf, u.at, u.open)
		}
	}
}

// TestOthersSource shows a program where datagrams come from that processes outside of
// the node send it from the node's own aliases: not from the node.
func TestOthersSource(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	program := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	program.bind("A:7000")
	local, _, err := localName(program.fd)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := n.udp.datagramSource(local).Addr, s.parse("A:7000"); got != want {
		t.Errorf("the program's own address is %v, want %v", got, want)
	}
	for _, at := range []netip.Addr{n.Aliases.Public, n.Aliases.Wildcard,
		n.Aliases.Datagram} {
		other, kernel := udpAt(t, unix.AF_INET, netip.AddrPortFrom(at, 0))
		defer unix.Close(other)
		if got := n.udp.datagramSource(abi.Sockaddr{Addr: kernel}).Addr; got != kernel {
			t.Errorf("a process at %v appears as %v", kernel, got)
		}
	}
}

// TestHostsPort sends to a port of localhost that a program of the node had before, and
// the host has now.
func TestHostsPort(t *testing.T) {
	s := boxedScript(t)
	k := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
	host, kernel := udpAt(t, unix.AF_INET, netip.AddrPortFrom(localhost4, 0))
	defer unix.Close(host)
	send := func() {
		t.Helper()
		c := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		defer c.close()
		to := encode(unix.AF_INET, kernel)
		_, addr := s.a.mem.take(len(to), to)
		_, text := s.a.mem.take(5, []byte("hello"))
		if n, errno := c.call(unix.SYS_SENDTO, c.fdArg(), text, 5, 0, addr,
			uintptr(len(to))); n != 5 {
			t.Fatalf("sendto: %v", errno)
		}
	}
	got := func(fd int, want string) {
		t.Helper()
		if text, err := received(fd); text != want {
			t.Errorf("got %q, %v; want %q", text, err, want)
		}
	}
	to := encode(unix.AF_INET, kernel)
	_, addr := s.a.mem.take(len(to), to)
	if _, errno := k.call(unix.SYS_BIND, k.fdArg(), addr, uintptr(len(to))); errno != 0 {
		t.Fatal(errno)
	}
	send()
	got(k.fd, "hello")
	got(host, "")
	k.close()
	send()
	got(host, "hello")
}

// BenchmarkWhose measures the question whose a UDP socket is.
func BenchmarkWhose(b *testing.B) {
	aliases, err := ClaimAliases()
	if err != nil {
		b.Fatal(err)
	}
	defer aliases.Release()
	n, err := NewNode(Config{Hostname: "a", Addr: addrA, Prefix: prefix, Aliases: aliases,
		Network: newFakeNet()})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := n.udp.bindHost(&progSocket{fd: fd, domain: unix.AF_INET,
		typ: unix.SOCK_DGRAM}, anyAddress(unix.AF_INET)); err != nil {
		b.Fatal(err)
	}
	local, _, err := localName(fd)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n.udp.whose(sourceOf(local), n.udp.nowhere()) != programs {
			b.Fatal("the program's socket is not known")
		}
	}
}
