package syscalls

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestOneSourcePort is about several connections from one port of a program's.
func TestOneSourcePort(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  func(*script)
	}{
		{"beside each other", func(s *script) {
			fromOnePort(s, "0.0.0.0:7010", "B:7000",
				"B:7001", "B:7002")
		}},
		{"own address", func(s *script) { fromOnePort(s, "A:7010", "B:7000", "B:7001", "B:7000") }},
		{"IPv6", func(s *script) { fromOnePort(s, "[::]:7010", "B6:7000", "B6:7001", "B6:7001") }},
		{"to itself", func(s *script) {
			own := s.listener(s.a, "0.0.0.0:7003")
			s.listener(s.a, "127.0.0.1:7004")
			fromOnePort(s, "0.0.0.0:7010", "127.0.0.1:7003", "127.0.0.1:7004", "B:7000",
				"127.0.0.1:7003")
			own.close()
		}},
		{"to one listener at two addresses", func(s *script) {
			toOneListener(s, "0.0.0.0:7010", "0.0.0.0:7003", "127.0.0.1:7003", "A:7003",
				"127.0.0.1:7003", "A:7003")
		}},
		{"to one listener at two addresses, the own one first", func(s *script) {
			toOneListener(s, "0.0.0.0:7010", "0.0.0.0:7003", "A:7003", "127.0.0.1:7003",
				"A:7003")
		}},
		{"to one listener from the own address", func(s *script) {
			toOneListener(s, "A:7010", "0.0.0.0:7003", "A:7003", "127.0.0.1:7003",
				"A:7003")
		}},
		{"to one IPv6 listener at two addresses", func(s *script) {
			toOneListener(s, "[::]:7010", "[::]:7003", "[::1]:7003", "A6:7003",
				"[::1]:7003")
		}},
		{"to two listeners at two addresses", func(s *script) {
			s.listener(s.a, "0.0.0.0:7004")
			toOneListener(s, "0.0.0.0:7010", "0.0.0.0:7003", "A:7003", "127.0.0.1:7004")
		}},
		{"the port listened on", func(s *script) {
			own := s.tcp(s.a)
			own.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			own.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			own.bind("0.0.0.0:7010")
			own.listen(16)
			fromOnePort(s, "0.0.0.0:7010", "B:7000", "B:7001", "B:7000")
			k := s.tcp(s.b) // which still gets what is for it
			k.connect("A:7010")
			talk(k, own.accept(0))
		}},
		{"one after the other", func(s *script) {
			for _, to := range []string{"B:7000", "B:7001"} {
				l := s.listener(s.b, to)
				k := s.tcp(s.a)
				k.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				k.bind("0.0.0.0:7010")
				k.connect(to)
				server := l.accept(0)
				server.peername()
				k.close() // first, so that TIME_WAIT is here
				server.read()
				server.close()
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, nil, tc.run) })
	}
}

// fromOnePort connects from one port to several destinations, of which b listens on its
// own, and uses the connections when all are there.
func fromOnePort(s *script, from string, to ...string) {
	listeners := make(map[string]*sock)
	for _, at := range to {
		if at[0] == 'B' && listeners[at] == nil {
			listeners[at] = s.listener(s.b, at)
		}
	}
	var clients, servers []*sock
	for _, at := range to {
		k := s.tcpFor(s.a, from)
		k.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		k.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		k.bind(from)
		k.connect(at)
		k.peername()
		if l := listeners[at]; l != nil && connected(k) {
			clients, servers = append(clients, k), append(servers, l.accept(0))
		}
	}
	for i, k := range clients {
		k.sockname()
		k.peername()
		servers[i].peername()
		talk(k, servers[i])
	}
}

// toOneListener connects from one port to a listener at several addresses, and uses the
// connections when all are there.
func toOneListener(s *script, from, listen string, to ...string) {
	l := s.listener(s.a, listen)
	var clients, servers []*sock
	for _, at := range to {
		k := s.tcpFor(s.a, from)
		k.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		k.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		k.bind(from)
		k.connect(at)
		if connected(k) && s.parse(at).Port() == s.parse(listen).Port() {
			clients, servers = append(clients, k), append(servers, l.accept(0))
		}
	}
	for i, k := range clients {
		k.sockname()
		k.peername()
		servers[i].sockname()
		servers[i].peername()
		talk(k, servers[i])
	}
}

func connected(k *sock) bool {
	_, ok, err := remoteName(k.fd)
	return ok && err == nil
}

// TestOnePortForEachDestination has sockets that the kernel may give one port only, so
// that the second connect to the same destination finds none.
func TestOnePortForEachDestination(t *testing.T) {
	for _, listen := range []string{"B", "A", "B6"} {
		t.Run(listen, func(t *testing.T) {
			compare(t, nil, func(s *script) {
				for _, port := range []string{":7000", ":7001"} {
					m := s.b
					if listen == "A" {
						m = s.a
					}
					s.listener(m, listen+port)
				}
				for _, port := range []string{":7000", ":7001", ":7000"} {
					k := s.tcpFor(s.a, listen+port)
					onlyPort(s, k, "A:7015")
					k.connect(listen + port)
					k.sockname()
				}
			})
		})
	}
}

// onlyPort has the kernel choose the port of addr for the socket, or none.
func onlyPort(s *script, k *sock, addr string) {
	const ipLocalPortRange = 51 // linux/in.h, ip(7); since Linux 6.3
	port := int(s.parse(addr).Port())
	if err := unix.SetsockoptInt(k.fd, unix.IPPROTO_IP, ipLocalPortRange,
		port<<16|port); err != nil {
		s.t.Skip("no IP_LOCAL_PORT_RANGE: ", err)
	}
}

// TestDialFromListeningPortGivenUp has a program dial from the port that it listens on,
// and close that socket before the far side has answered: its listener gets nothing.
func TestDialFromListeningPortGivenUp(t *testing.T) {
	for _, tc := range []struct {
		name   string
		listen bool // at the far side
	}{{"accepted", true}, {"refused", false}} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			answer := make(chan struct{})
			s.net.mu.Lock()
			s.net.silent[addrB] = answer
			s.net.mu.Unlock()
			if tc.listen {
				s.listener(s.b, "0.0.0.0:7000")
			}
			own, k := s.tcpNB(s.a), s.tcpNB(s.a)
			for _, each := range []*sock{own, k} {
				each.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				each.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
				each.bind("0.0.0.0:7010")
			}
			own.listen(16)
			k.connect("B:7000")
			k.close()
			close(answer)
			settled := func() bool {
				return s.a.node.entries() == noEntries &&
					s.b.node.entries() == noEntries
			}
			eventually(t, "the attempt has ended", settled)
			if got := own.accept(0); got != nil {
				t.Error("the listener has got a connection")
			}
		})
	}
}

// TestRelayAddresses holds that each peer has a loopback address of its own at each port.
func TestRelayAddresses(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	if n.gates.v4.addrs == nil {
		t.Skip("the gate has one address: the kernel does not bind to a device")
	}
	a, b, c := n.relayFor(addrA, 80), n.relayFor(addrB, 80), n.relayFor(addrA, 81)
	if a == b || a == c || b == c || a != n.relayFor(addrA, 80) {
		t.Errorf("relays are at %v, %v and %v, then the first at %v", a, b, c,
			n.relayFor(addrA, 80))
	}
}
