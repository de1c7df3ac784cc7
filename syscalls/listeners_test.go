package syscalls

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutDiag makes the nodes of a world as on a kernel without sock_diag(7).
func withoutDiag(w *world) {
	for _, m := range []*machine{w.a, w.b} {
		m.node.diag.Close()
		m.node.diag = nil
	}
}

// diagnoses runs a test with sock_diag(7), and as on a kernel without it.
func diagnoses(t *testing.T, test func(t *testing.T, change func(*world))) {
	t.Helper()
	t.Run("sock_diag", func(t *testing.T) { test(t, func(*world) {}) })
	t.Run("without sock_diag", func(t *testing.T) { test(t, withoutDiag) })
}

// outOfDescriptors runs f while the process can open none.
func outOfDescriptors(t *testing.T, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 0, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	f()
}

// TestListenerOutlivesLackOfDescriptors holds that a listener which boxer cannot look at
// for a moment is there afterwards, for neighbours and for all others.
func TestListenerOutlivesLackOfDescriptors(t *testing.T) {
	diagnoses(t, func(t *testing.T, change func(*world)) {
		s := boxedScript(t)
		change(s.world)
		l := s.listener(s.b, "0.0.0.0:7000")
		near, from, at := s.a.node.Aliases.Public, netip.AddrPortFrom(addrA, 4000),
			s.parse("B:7000")
		outOfDescriptors(t, func() {
			if _, err := s.b.node.ResolveLocal(near, from.Addr(), at,
				1); Errno(err) == unix.ECONNREFUSED {
				t.Errorf("a neighbour is told, out of descriptors: %v", err)
			}
			_, err := s.b.node.Accept(context.Background(),
				Opening{Source: from, Destination: at})
			if err == nil || Errno(err) == unix.ECONNREFUSED {
				t.Errorf("a connection that comes in, out of descriptors: %v", err)
			}
			s.b.node.listeners.ended(0)
		})
		if _, err := s.b.node.ResolveLocal(near, from.Addr(), at, 1); err != nil {
			t.Errorf("a neighbour is told afterwards: %v", err)
		}
		k := s.tcp(s.a)
		k.connect("B:7000")
		talk(k, l.accept(0))
	})
}

// TestConnectOutlivesLackOfDescriptors holds that a pending connect is not given up when
// boxer cannot look whether its socket is still open.
func TestConnectOutlivesLackOfDescriptors(t *testing.T) {
	diagnoses(t, func(t *testing.T, change func(*world)) {
		s := boxedScript(t)
		change(s.world)
		k := s.tcpNB(s.a)
		k.connect(silent.String() + ":7000")
		local, _, err := localName(k.fd)
		if err != nil {
			t.Fatal(err)
		}
		id, err := cookie(k.fd)
		if err != nil {
			t.Fatal(err)
		}
		outOfDescriptors(t, func() {
			if !s.a.node.isOpen(id, unmapped(local.Addr),
				s.a.node.gates.v4.towards(netip.AddrPortFrom(silent, s.parse("B:7000").Port()))) {
				t.Error("the socket passes for closed")
			}
		})
	})
}

// TestPortOfAClosedListener is about a service of the host that takes a port which the
// node's listener had: the network does not reach it.
func TestPortOfAClosedListener(t *testing.T) {
	for _, at := range []string{"0.0.0.0:7000", "B:7000", "[::]:7000"} {
		t.Run(at, func(t *testing.T) {
			diagnoses(t, func(t *testing.T, change func(*world)) {
				compareWith(t, nil, change, func(s *script) {
					l := s.listener(s.b, at)
					k := s.tcp(s.a)
					k.connect("B:7000")
					server := l.accept(0)
					talk(k, server)
					l.close()
					if s.boxed {
						host, err := net.Listen("tcp", ":"+portOf(s, "B:7000"))
						if err != nil {
							s.t.Fatal(err)
						}
						defer host.Close()
						go func() {
							for {
								c, err := host.Accept()
								if err != nil {
									return
								}
								s.t.Errorf("%v has reached the host's service",
									c.RemoteAddr())
								c.Close()
							}
						}()
					}
					s.tcp(s.a).connect("B:7000")
					s.tcp(s.b).connect("B:7000")
					if s.boxed {
						_, err := s.b.node.ResolveLocal(s.a.node.Aliases.Public, addrA,
							s.parse("B:7000"), 1)
						if Errno(err) != unix.ECONNREFUSED {
							s.t.Errorf("a neighbour is told: %v", err)
						}
					}
				})
			})
		})
	}
}

func portOf(s *script, addr string) string {
	_, port, _ := net.SplitHostPort(s.parse(addr).String())
	return port
}

// TestClosedListenersAreForgotten holds that the node learns of each listener's end,
// however small its backlog is, and wherever it listens.
func TestClosedListenersAreForgotten(t *testing.T) {
	s := boxedScript(t)
	if s.b.node.listeners.watcher == nil {
		t.Skip("the kernel does not tell when listeners close")
	}
	var socks []*sock
	for _, at := range []string{"0.0.0.0:7000", "B:7001", "127.0.0.1:7002", "[::]:7003",
		"[::1]:7004"} {
		k := s.tcpFor(s.b, at)
		k.bind(at)
		k.listen(1)
		socks = append(socks, k)
	}
	twin := [2]*sock{s.tcp(s.b), s.tcp(s.b)}
	for _, k := range twin {
		k.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		k.bind("0.0.0.0:7005")
		k.listen(1)
	}
	twin[0].close()
	for _, k := range socks {
		k.close()
	}
	eventually(t, "only the twin is left",
		func() bool { return len(s.b.node.ports.kernels()) == 1 })
	if found := s.b.node.ports.find(s.parse("B:7005").Port(),
		netip.IPv4Unspecified()); len(found) != 1 {
		t.Errorf("the other socket of a group has %d places", len(found))
	}
	twin[1].close()
	eventually(t, "all are forgotten", func() bool { return len(s.b.node.ports.kernels()) == 0 })
}
