package syscalls

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBind(t *testing.T) {
	for _, tc := range []struct {
		name  string
		known differences
		run   func(*script)
	}{
		{name: "wildcard", run: bindAnd("0.0.0.0:7000")},
		{name: "own address", run: bindAnd("A:7000")},
		{name: "localhost", run: bindAnd("127.0.0.1:7000")},
		{name: "wildcard, any port", run: bindAnd("0.0.0.0:0")},
		{name: "own address, any port", run: bindAnd("A:0")},
		{name: "localhost, any port", run: bindAnd("127.0.0.1:0")},
		{name: "dual stack", run: bindAnd("[::]:7000")},
		{name: "dual stack, any port", run: bindAnd("[::]:0")},
		{name: "mapped", run: bindAnd("[::ffff:203.0.113.10]:7000")},
		{name: "mapped localhost", run: bindAnd("[::ffff:127.0.0.1]:7000")},
		{name: "mapped wildcard", run: bindAnd("[::ffff:0.0.0.0]:7000")},
		{name: "IPv6 localhost", run: bindAnd("[::1]:7000")},
		{name: "IPv6 localhost, any port", run: bindAnd("[::1]:0")},
		{name: "not ours", run: bindAnd("B:7000")},
		{name: "nobody's", run: bindAnd("192.0.2.1:7000")},
		{name: "IPv6, not ours", run: bindAnd("[2001:db8::1]:7000")},
		{name: "V6ONLY", run: func(s *script) {
			for _, addr := range []string{"[::]:7000", "[::1]:7001", "[::]:0"} {
				k := s.tcp6(s.a)
				k.set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
				k.bind(addr)
				k.sockname()
				k.listen(1)
			}
			// The IPv4 port of the same number is free.
			s.listener(s.a, "0.0.0.0:7000")
		}},
		{name: "never", run: func(s *script) {
			k := s.tcp(s.a)
			k.sockname()
			k.peername()
			k.listen(1)
			k.sockname()
			k = s.tcp6(s.a)
			k.sockname()
			k.listen(1)
			k.sockname()
		}},
		{name: "twice", run: func(s *script) {
			k := s.tcp(s.a)
			k.bind("0.0.0.0:7000")
			k.bind("0.0.0.0:7001")
			k.bind("0.0.0.0:7000")
			k.bind("A:7000")
			k = s.tcp6(s.a)
			k.bind("[::1]:7002")
			k.bind("[::1]:7003")
		}},
		{name: "after connect", run: func(s *script) {
			client, _ := s.pair()
			client.bind("0.0.0.0:7000")
			client.listen(1)
		}},
		{name: "again after close", run: func(s *script) {
			for range 3 {
				k := s.listener(s.a, "0.0.0.0:7000")
				k.close()
			}
		}},
		{name: "odd arguments", run: func(s *script) {
			k := s.tcp(s.a)
			good := encode(unix.AF_INET, s.parse("0.0.0.0:7000"))
			_, p := s.a.mem.take(128, good)
			for _, size := range []int{0, 1, 2, 8, 15, -1, 129, 1 << 20} {
				_, errno := k.call(unix.SYS_BIND, k.fdArg(), p, uintptr(size))
				k.printf("bind with %d bytes: %s", size, failed(errno))
			}
			_, errno := k.call(unix.SYS_BIND, k.fdArg(), 16, 16)
			k.printf("bind at a wild address: %s", failed(errno))
			_, errno = k.call(unix.SYS_BIND, 9999, p, 16)
			k.printf("bind of a bad descriptor: %s", failed(errno))
			_, errno = k.call(unix.SYS_BIND, 0xffffffff, p, 16)
			k.printf("bind of -1: %s", failed(errno))
			_, p = s.a.mem.take(128, encode(unix.AF_INET6, s.parse("[::]:7000")))
			_, errno = k.call(unix.SYS_BIND, k.fdArg(), p, 28)
			k.printf("bind to IPv6: %s", failed(errno))
			k6 := s.tcp6(s.a)
			_, p = s.a.mem.take(128, good)
			_, errno = k6.call(unix.SYS_BIND, k6.fdArg(), p, 16)
			k6.printf("bind to IPv4, 16 bytes: %s", failed(errno))
			_, errno = k6.call(unix.SYS_BIND, k6.fdArg(), p, 28)
			k6.printf("bind to IPv4, 28 bytes: %s", failed(errno))
			_, p = s.a.mem.take(128, encode(unix.AF_INET6, s.parse("[::]:7000")))
			_, errno = k6.call(unix.SYS_BIND, k6.fdArg(), p, 24)
			k6.printf("bind with 24 bytes: %s", failed(errno))
			// AF_UNSPEC stands for AF_INET with the wildcard address, for compatibility
			// (ip(7)).
			_, p = s.a.mem.take(128, append([]byte{0, 0},
				encode(unix.AF_INET, s.parse("0.0.0.0:7005"))[2:]...))
			_, errno = k.call(unix.SYS_BIND, k.fdArg(), p, 16)
			k.printf("bind to AF_UNSPEC: %s", failed(errno))
			k.sockname()
		}},
		{name: "more than the address", run: func(s *script) {
			k := s.tcp(s.a)
			_, p := s.a.mem.take(128, encode(unix.AF_INET, s.parse("0.0.0.0:7000")))
			_, errno := k.call(unix.SYS_BIND, k.fdArg(), p, 128)
			k.printf("bind with 128 bytes: %s", failed(errno))
			k.sockname()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, tc.known, tc.run) })
	}
}

// bindAnd returns a script that binds to an address, listens and looks.
func bindAnd(addr string) func(*script) {
	return func(s *script) {
		k := s.tcpFor(s.a, addr)
		k.bind(addr)
		k.sockname()
		k.peername()
		k.listen(1)
		k.sockname()
	}
}

// TestBindConflicts binds two sockets each, with all combinations of addresses and reuse
// options.
func TestBindConflicts(t *testing.T) {
	addrs := []string{"0.0.0.0:7000", "A:7000", "127.0.0.1:7000", "[::]:7000",
		"[::ffff:203.0.113.10]:7000", "[::1]:7000"}
	for _, opt := range []struct {
		name          string
		first, second int // an option to set, or 0
		listen        bool
	}{
		{name: "plain"},
		{name: "plain, listening", listen: true},
		{name: "SO_REUSEADDR", first: unix.SO_REUSEADDR, second: unix.SO_REUSEADDR},
		{name: "SO_REUSEADDR, listening", first: unix.SO_REUSEADDR,
			second: unix.SO_REUSEADDR, listen: true},
		{name: "SO_REUSEPORT, listening", first: unix.SO_REUSEPORT,
			second: unix.SO_REUSEPORT, listen: true},
		{name: "SO_REUSEPORT of one", first: unix.SO_REUSEPORT, listen: true},
		{name: "SO_REUSEADDR of one", second: unix.SO_REUSEADDR},
	} {
		t.Run(opt.name, func(t *testing.T) {
			compare(t, nil, func(s *script) {
				for _, first := range addrs {
					for _, second := range addrs {
						s.conflict(first, second, opt.first, opt.second, opt.listen)
					}
				}
			})
		})
	}
}

// conflict binds two sockets with an option each, 0 for none, and prints what that comes
// to.
func (s *script) conflict(first, second string, option, other int, listen bool) {
	one, two := s.tcpFor(s.a, first), s.tcpFor(s.a, second)
	defer one.shut()
	defer two.shut()
	for k, opt := range map[*sock]int{one: option, two: other} {
		if opt != 0 {
			k.set(unix.SOL_SOCKET, opt, 1)
		}
	}
	at := len(s.lines)
	one.bind(first)
	if listen {
		one.listen(1)
	}
	two.bind(second)
	if listen {
		two.listen(1)
	}
	line := strings.Join(s.lines[at:], ", ")
	s.lines = append(s.lines[:at], strings.NewReplacer(one.name, "one", two.name,
		"two").Replace(line))
}

// ipLocalPortRange is IP_LOCAL_PORT_RANGE of linux/in.h, since Linux 6.3 (ip(7)).
const ipLocalPortRange = 51

// TestChosenPort has the kernel choose a port from a range, of which sockets at other
// addresses have all but one: bind(2) to port 0, and listen(2), choose that one.
func TestChosenPort(t *testing.T) {
	const low, free = 41000, 3
	for _, tc := range []struct{ name, taken, chosen string }{
		{"wildcard beside own address", "A:4100%d", "0.0.0.0:0"},
		{"wildcard beside localhost", "127.0.0.1:4100%d", "0.0.0.0:0"},
		{"wildcard beside 127.0.0.2", "127.0.0.2:4100%d", "0.0.0.0:0"},
		{"own address beside wildcard", "0.0.0.0:4100%d", "A:0"},
		{"localhost beside wildcard", "0.0.0.0:4100%d", "127.0.0.1:0"},
		{"dual stack beside own address", "A:4100%d", "[::]:0"},
		{"dual stack beside IPv6 localhost", "[::1]:4100%d", "[::]:0"},
		{"listen", "A:4100%d", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			compare(t, nil, func(s *script) {
				for i := range free {
					k := s.tcpFor(s.a, tc.taken)
					k.bind(fmt.Sprintf(tc.taken, i))
				}
				for range 8 { // the kernel chooses at random
					k := s.tcpFor(s.a, tc.chosen+"  ")
					if unix.SetsockoptInt(k.fd, unix.IPPROTO_IP, ipLocalPortRange,
						(low+free)<<16|low) != nil {
						s.t.Skip("the kernel has no IP_LOCAL_PORT_RANGE")
					}
					if tc.chosen != "" {
						k.bind(tc.chosen)
					}
					k.listen(1)
					local, _, err := localName(k.fd)
					k.printf("has the free port: %t, %v", local.Addr.Port() == low+free, err)
					k.shut()
				}
			})
		})
	}
}
