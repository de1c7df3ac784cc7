package syscalls

import (
	"net"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// TestAdopt gives a program sockets that were made outside of the node, as a service
// manager does: another node reaches them at the port that they have.
func TestAdopt(t *testing.T) {
	for _, tc := range []struct {
		name    string
		domain  int
		typ     int
		at      netip.Addr
		reached bool
	}{
		{"TCP on all addresses", unix.AF_INET, unix.SOCK_STREAM, netip.IPv4Unspecified(), true},
		{"TCP on all addresses, IPv6", unix.AF_INET6, unix.SOCK_STREAM,
			netip.IPv6Unspecified(), true},
		{"TCP on localhost", unix.AF_INET, unix.SOCK_STREAM, localhost4, false},
		{"UDP on all addresses", unix.AF_INET, unix.SOCK_DGRAM, netip.IPv4Unspecified(), true},
		{"a Unix socket", unix.AF_UNIX, unix.SOCK_STREAM, netip.Addr{}, false},
		{"a socket without a port", unix.AF_INET, unix.SOCK_DGRAM, netip.Addr{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			carryDatagrams(s.world)
			fd, err := unix.Socket(tc.domain, tc.typ|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			k := s.adopt(s.b, fd, tc.domain)
			var port uint16
			if tc.at.IsValid() {
				if err := unix.Bind(fd, kernelSockaddr(tc.domain,
					netip.AddrPortFrom(tc.at, 0))); err != nil {
					t.Fatal(err)
				}
				local, _, err := localName(fd)
				if err != nil {
					t.Fatal(err)
				}
				port = local.Addr.Port()
				if tc.typ == unix.SOCK_STREAM {
					if err := unix.Listen(fd, 16); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.b.node.Adopt(fd)
			if tc.typ == unix.SOCK_DGRAM {
				got := s.b.node.DeliverDatagram(netip.AddrPortFrom(addrA, 9),
					netip.AddrPortFrom(addrB, port), stream.IPFields{}, []byte("hello"))
				if got != tc.reached {
					t.Errorf("a datagram was delivered: %v, want %v", got, tc.reached)
				}
				if text, err := received(fd); tc.reached && text != "hello" {
					t.Errorf("the program got %q, %v", text, err)
				}
				return
			}
			client := s.tcp(s.a)
			to := encode(unix.AF_INET, netip.AddrPortFrom(addrB, port))
			_, p := s.a.mem.take(len(to), to)
			_, errno := client.call(unix.SYS_CONNECT, client.fdArg(), p, uintptr(len(to)))
			if want := map[bool]unix.Errno{false: unix.ECONNREFUSED}[tc.reached]; errno != want {
				t.Errorf("connect: %v, want %v", errno, want)
			}
			if !tc.reached {
				return
			}
			conn := k.accept(0)
			peer, _, err := namedBy(peerOf(t, conn))
			if err != nil || peer.Unmap() != addrA {
				t.Errorf("the peer is %v, %v; want %v", peer, err, addrA)
			}
			client.write("hello")
			if conn.read(); s.lines[len(s.lines)-1] != conn.name+` read "hello"` {
				t.Errorf("%q", s.lines)
			}
		})
	}
}

// peerOf returns what getpeername(2) stores.
func peerOf(t *testing.T, k *sock) []byte {
	t.Helper()
	b, p := k.m.mem.take(28, nil)
	_, sp := k.m.mem.take(4, []byte{28, 0, 0, 0})
	if _, errno := k.call(unix.SYS_GETPEERNAME, k.fdArg(), p, sp); errno != 0 {
		t.Fatal(errno)
	}
	return b
}

// TestAdoptConnected gives a program the socket of a connection: it stays as it is.
func TestAdoptConnected(t *testing.T) {
	s := boxedScript(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.b.node.Adopt(int(f.Fd()))
	port := c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	if s.b.node.ports.isInherited(netip.AddrPortFrom(localhost4, port)) {
		t.Error("the node has adopted the port of a connection")
	}
}
