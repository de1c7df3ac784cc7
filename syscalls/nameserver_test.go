package syscalls

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// startNameServer starts a server on port 53 of a loopback address that nobody else has.
// It answers with the address that was asked for "name", and else with the query in
// capitals. stop ends it.
func startNameServer(t *testing.T) (at netip.AddrPort, stop func()) {
	t.Helper()
	for range 20 {
		r := rand.Uint32()
		a := netip.AddrFrom4([4]byte{127, 32 | byte(r>>16)&0x1f, byte(r >> 8), byte(r)})
		at = netip.AddrPortFrom(a, dnsPort)
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		if errors.Is(err, unix.EACCES) {
			t.Skip("only root, or ip_unprivileged_port_start, gives port 53")
		}
		if err != nil {
			continue
		}
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		if err != nil {
			u.Close()
			continue
		}
		var tasks sync.WaitGroup
		tasks.Go(func() { serveCapitals(u) })
		tasks.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				b := make([]byte, 64)
				n, _ := c.Read(b)
				c.Write([]byte(strings.ToUpper(string(b[:n]))))
				c.Close()
			}
		})
		stop = sync.OnceFunc(func() {
			u.Close()
			l.Close()
			tasks.Wait()
		})
		t.Cleanup(stop)
		return at, stop
	}
	t.Fatal("no port 53 is free")
	return at, nil
}

func serveCapitals(u *net.UDPConn) {
	b := make([]byte, 64)
	for {
		n, from, err := u.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		u.WriteToUDPAddrPort([]byte(strings.ToUpper(string(b[:n]))), from)
	}
}

// TestOtherNameServer asks a server that is not of resolv.conf, by every kind of socket:
// it answers, but for what is the network's own.
func TestOtherNameServer(t *testing.T) {
	at, stop := startNameServer(t)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(at.Addr().As16()), dnsPort)
	for _, server := range []string{at.String(), mapped.String()} {
		t.Run(server, func(t *testing.T) {
			s, r := resolving(t)
			r.others = []netip.Addr{at.Addr()}
			connected := udpFor(s, server)
			connected.connect(server)
			connected.peername()
			connected.write("one")
			connected.recvFrom(64, 0)()
			connected.write("own one")
			connected.recvFrom(64, 0)()
			for _, bound := range []string{"", "0.0.0.0:0", "0.0.0.0:7001"} {
				k := udpFor(s, server)
				if bound != "" && server == at.String() {
					k.bind(bound)
				}
				k.sendTo("two", server, 0)
				k.recvFrom(64, 0)()
				k.sendTo("own two", server, 0)
				k.recvFrom(64, 0)()
				k.shut()
			}
			tcp := s.tcpFor(s.a, server)
			tcp.connect(server)
			tcp.peername()
			tcp.write("three")
			tcp.read()
			got := strings.Join(s.lines, "\n")
			for want, times := range map[string]int{
				`recvfrom: 3 bytes "ONE" from {}`: 1, `recvfrom: 11 bytes "re: own one" from {}`: 1,
				`recvfrom: 3 bytes "TWO" from {}`: 3, `recvfrom: 11 bytes "re: own two" from {}`: 3,
				"getpeername: {}": 2, "connect {}: ok": 2, `read "THREE"`: 1,
			} {
				if n := strings.Count(got,
					strings.ReplaceAll(want, "{}", server)); n != times {
					t.Errorf("%d times %s, want %d", n, want, times)
				}
			}
			if t.Failed() {
				t.Log(got)
			}
			if len(r.asked) > 0 {
				t.Errorf("the resolver is asked in place of %v", r.asked)
			}
		})
	}
	stop()
	t.Run("nobody is there", func(t *testing.T) {
		server := at.String()
		compareWith(t, nil, func(w *world) {
			w.a.node.Resolver = &fakeResolver{t: t, at: w.a.node.Aliases.Relay,
				others: []netip.Addr{at.Addr()}}
			w.a.node.CopyFD = func(_, fd int) (int,
				error) {
				return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			}
		}, func(s *script) {
			k := udpFor(s, server)
			k.connect(server)
			k.write("one")
			k.readable()
			k.recvFrom(64, 0)()
			k.soError()
			tcp := s.tcp(s.a)
			tcp.connect(server)
			nb := s.tcpNB(s.a)
			nb.connectLater(server)()
			nb.await(unix.POLLOUT)
			nb.soError()
		})
	})
}

// TestNoRouteToNameServer has the kernel's error at once, and no wait for an answer.
func TestNoRouteToNameServer(t *testing.T) {
	for _, tc := range []struct {
		addr string
		want error
	}{
		{"127.0.0.1:53", nil},
		{"192.0.2.1:53", unix.ENETUNREACH}, // the tests run where there is no network
	} {
		if err := routed(netip.MustParseAddrPort(tc.addr)); err != tc.want {
			t.Errorf("%s: %v, want %v", tc.addr, err, tc.want)
		}
	}
	if _, _, errno := (egressUDPOf(t)).refusal(); errno != unix.ECONNREFUSED {
		t.Errorf("errno %v", errno)
	}
}

// egressUDPOf returns a socket for the outside that has sent to a closed port.
func egressUDPOf(t *testing.T) refused {
	t.Helper()
	closed, at := udpAt(t, unix.AF_INET, netip.MustParseAddrPort("127.0.0.1:0"))
	unix.Close(closed)
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := reportErrors(c); err != nil {
		t.Fatal(err)
	}
	if err := newEgressUDP(c).WriteTo([]byte("lost"), stream.IPFields{}, at); err != nil {
		t.Fatal(err)
	}
	return refused{newEgressUDP(c), at, t}
}

// refused is a socket whose datagram to an address was refused.
type refused struct {
	egressUDP
	at netip.AddrPort
	t  *testing.T
}

func (r refused) refusal() (netip.AddrPort, []byte, unix.Errno) {
	if _, _, _, err := r.ReadFrom(make([]byte, 8)); !isUnreachable(err) {
		r.t.Errorf("read: %v", err)
	}
	to, quote, errno, err := r.nextError()
	if err != nil || to != r.at || string(quote) != "lost" {
		r.t.Errorf("error queue: %v %q %v; want %v", to, quote, err, r.at)
	}
	return to, quote, errno
}
