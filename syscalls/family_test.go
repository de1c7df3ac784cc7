package syscalls

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// TestOtherFamily connects to a node at its IPv6 address, where a program listens over
// IPv4 alone. Linux refuses that: the name of a node has addresses of both.
func TestOtherFamily(t *testing.T) {
	for _, tc := range []struct {
		name, listen, to string
	}{
		{"all addresses", "0.0.0.0:7000", "B6:7000"},
		{"one address", "B:7000", "B6:7000"},
	} {
		for _, sameHost := range []bool{false, true} {
			name := tc.name
			if sameHost {
				name += ", on one host"
			}
			t.Run(name, func(t *testing.T) {
				s := boxedScript(t)
				s.net.sameHost = sameHost
				l := s.tcpFor(s.b, tc.listen)
				l.bind(tc.listen)
				l.listen(1)
				s.lines = nil
				k := s.tcpFor(s.a, tc.to)
				k.connect(tc.to)
				server := l.accept(0)
				k.peername()
				server.sockname()
				server.peername()
				from := s.lines[len(s.lines)-1]
				talk(k, server)
				got := slices.Clone(s.lines)
				if got[0] != "s2 connect "+tc.to+": ok" ||
					!slices.Contains(got, "s2 getpeername: "+tc.to) ||
					!slices.Contains(got, "s3 getsockname: "+"B:7000") {
					t.Errorf("%q", got)
				}
				if !strings.HasPrefix(from, "s3 getpeername: A:") {
					t.Errorf("%s, want an address of A", from)
				}
				l.shut()
				k = s.tcpFor(s.a, tc.to)
				s.lines = nil
				k.connect(tc.to)
				if want := "s4 connect " + tc.to + ": ECONNREFUSED"; s.lines[0] != want {
					t.Errorf("nobody listens any more: %q", s.lines)
				}
			})
		}
	}
}

// TestOwnOtherFamily connects to the node's own addresses, which Linux refuses, and
// boxer.
func TestOwnOtherFamily(t *testing.T) {
	compare(t, nil, func(s *script) {
		s.listener(s.a, "0.0.0.0:7000")
		k := s.tcp6(s.a)
		k.connect("A6:7000")
		k = s.tcp6(s.a)
		k.connect("[::1]:7000")
	})
}

// TestIPv6Only connects over IPv4 to a server that takes IPv6 alone: clients try IPv4
// first.
func TestIPv6Only(t *testing.T) {
	compare(t, nil, func(s *script) {
		l := s.tcp6(s.b)
		l.set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		l.bind("[::]:7000")
		l.listen(1)
		k := s.tcp(s.a)
		k.connect("B:7000")
		k = s.tcp6(s.a)
		k.connect("B6:7000")
	})
}

func TestToIPv4(t *testing.T) {
	n := &Config{
		Addr:    netip.MustParseAddr("10.111.0.1"),
		Prefix:  netip.MustParsePrefix("10.111.0.0/16"),
		Addr6:   netip.MustParseAddr("fd6f:7865:72::a6f:1"),
		Prefix6: netip.MustParsePrefix("fd6f:7865:72::/64"),
	}
	for _, tc := range []struct{ src, dst, want string }{
		{"[fd6f:7865:72::a6f:2]:7", "[fd6f:7865:72::a6f:1]:8",
			"10.111.0.2:7 10.111.0.1:8"},
		{"[fd6f:7865:72::a6f:1]:7", "[fd6f:7865:72::a6f:1]:8", ""}, // the node's own
		{"[fd6f:7865:72::a70:2]:7", "[fd6f:7865:72::a6f:1]:8", ""}, // 10.112.0.2
		{"10.111.0.2:7", "10.111.0.1:8", ""},
		{"[2001:db8::1]:7", "[fd6f:7865:72::a6f:1]:8", ""},
	} {
		src, dst := netip.MustParseAddrPort(tc.src), netip.MustParseAddrPort(tc.dst)
		src4, dst4, ok := n.toIPv4(src, dst)
		if got := src4.String() + " " + dst4.String(); ok != (tc.want != "") || ok &&
			got != tc.want {
			t.Errorf("%s to %s: %s, %v; want %s", tc.src, tc.dst, got, ok, tc.want)
		}
		if ok && (n.toIPv6(src4) != src || n.toIPv6(dst4) != dst) {
			t.Errorf("%s and %s came back as %v and %v", tc.src, tc.dst, n.toIPv6(src4),
				n.toIPv6(dst4))
		}
	}
}

// A datagramNet carries datagrams between the nodes of a test at once. It implements
// Datagrams.
type datagramNet struct{ *fakeNet }

func (d datagramNet) SendDatagram(src, dst netip.AddrPort, ip stream.IPFields,
	b []byte) bool {
	d.mu.Lock()
	to := d.nodes[dst.Addr()]
	d.mu.Unlock()
	if to == nil {
		return false
	}
	if !to.DeliverDatagram(src, dst, ip, b) {
		d.SendUnreachable(src, dst, b)
	}
	return true
}

func (d datagramNet) SendUnreachable(src, dst netip.AddrPort, quote []byte) {
	d.mu.Lock()
	to := d.nodes[src.Addr()]
	d.mu.Unlock()
	if to != nil {
		to.Unreachable(dst, src, quote)
	}
}

func (d datagramNet) SendEcho(netip.AddrPort, netip.AddrPort, stream.IPFields,
	[]byte) bool {
	return false
}

// TestOtherFamilyUDP sends to a node at its IPv6 address, where a program has the port
// over IPv4 alone: the answer comes from where the datagram went.
func TestOtherFamilyUDP(t *testing.T) {
	for _, tc := range []struct {
		name, bound string
	}{
		{"never bound", ""},
		{"bound", "[::]:7001"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			s.a.node.Datagrams, s.b.node.Datagrams = datagramNet{s.net},
				datagramNet{s.net}
			server, client := s.open(s.b, unix.AF_INET, unix.SOCK_DGRAM),
				s.open(s.a, unix.AF_INET6, unix.SOCK_DGRAM)
			server.bind("0.0.0.0:7000")
			if tc.bound != "" {
				client.bind(tc.bound)
			}
			client.sendTo("question", "B6:7000", 0)
			b, p := s.b.mem.take(64, nil)
			from, ap := s.b.mem.take(abi.SizeofSockaddrStorage, nil)
			_, sp := s.b.mem.take(4, []byte{abi.SizeofSockaddrStorage, 0, 0, 0})
			n, errno := server.call(unix.SYS_RECVFROM, server.fdArg(), p, 64, 0, ap, sp)
			if errno != 0 || string(b[:n]) != "question" {
				t.Fatalf("recvfrom: %q, %v", b[:n], errno)
			}
			const size = abi.SizeofSockaddrInet4
			if name := s.decode(from[:size]); !strings.HasPrefix(name, "A:") {
				t.Errorf("the server sees %s, want an address of A", name)
			}
			_, ap = s.b.mem.take(size, from[:size])
			_, p = s.b.mem.take(6, []byte("answer"))
			if n, errno := server.call(unix.SYS_SENDTO, server.fdArg(), p, 6, 0, ap,
				size); n != 6 {
				t.Fatalf("sendto: %v", errno)
			}
			s.lines = nil
			client.readable()
			client.recvFrom(64, 0)()
			if want := client.name + ` recvfrom: 6 bytes "answer" from B6:7000`; s.lines[0] != want {
				t.Errorf("got %q, want %s", s.lines, want)
			}
		})
	}
}
