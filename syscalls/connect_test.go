package syscalls

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connectCase is a script about connect(2).
type connectCase struct {
	name  string
	known differences
	run   func(*script)
}

func TestConnect(t *testing.T) {
	for _, tc := range connectCases {
		t.Run(tc.name, func(t *testing.T) { compare(t, tc.known, tc.run) })
	}
}

var connectCases = []connectCase{
	{name: "blocking", run: func(s *script) {
		client, server := s.pair()
		for _, k := range []*sock{client, server} {
			k.sockname()
			k.peername()
			k.soError()
			k.poll()
			k.connect("B:7000")
		}
		talk(client, server)
	}},
	{name: "non-blocking", run: func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7000")
		k := s.tcpNB(s.a)
		k.poll()
		k.connect("B:7000")
		k.await(unix.POLLOUT)
		k.sockname()
		k.peername()
		k.soError()
		k.connect("B:7000") // the first time it tells of the success
		k.connect("B:7000")
		talk(k, l.accept(0))
	}},
	{name: "non-blocking, asks by connect", run: func(s *script) {
		s.listener(s.b, "0.0.0.0:7000")
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		k.pollFor(unix.POLLOUT, 10000)
		k.connect("B:7000")
		k.connect("B:7000")
		k.connect("127.0.0.1:1")
		k.connect("192.0.2.1:1")
	}},
	{name: "pending", run: func(s *script) {
		k := s.tcpNB(s.a)
		k.connect("203.0.113.200:7000")
		k.connect("203.0.113.200:7000")
		k.connect("B:7000")
		k.poll()
		k.soError()
		k.peername()
		k.sockname()
		k.write("early")
		k.listen(1)
		k.bind("0.0.0.0:0")
		k.poll()
		k.close()
	}},
	{name: "refused", run: func(s *script) {
		k := s.tcp(s.a)
		k.connect("B:7000")
		k.soError()
		k.peername()
		k.poll()
		k.connect("B:7000")
	}},
	{name: "refused, then not", run: func(s *script) {
		k := s.tcp(s.a)
		k.connect("B:7000")
		l := s.listener(s.b, "0.0.0.0:7000")
		k.connect("B:7000")
		k.sockname()
		talk(k, l.accept(0))
	}},
	{name: "non-blocking, refused", run: func(s *script) {
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		k.await(unix.POLLOUT)
		k.soError()
		k.soError()
		k.peername()
	}},
	{name: "non-blocking, refused, again", run: func(s *script) {
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		k.pollFor(unix.POLLOUT, 10000)
		k.soError()
		k.connect("B:7000")
	}},
	{name: "own address, refused, again", run: func(s *script) {
		k := s.tcp(s.a)
		for range 3 {
			k.connect("A:7000")
			k.connect("127.0.0.1:7000")
		}
		l := s.listener(s.a, "0.0.0.0:7000")
		k.connect("A:7000")
		talk(k, l.accept(0))
	}},
	{name: "the listener has moved", run: func(s *script) {
		for _, at := range []string{"127.0.0.1:7000", "A:7000"} {
			s.listener(s.a, at).close()
		}
		l := s.listener(s.a, "0.0.0.0:7000")
		for _, to := range []string{"127.0.0.1:7000", "A:7000"} {
			for _, k := range []*sock{s.tcp(s.a), s.tcpNB(s.a)} {
				k.connect(to)
				k.pollFor(unix.POLLOUT, 10000)
				k.peername()
				k.soError()
				l.accept(0)
			}
		}
	}},
	{name: "non-blocking, refused, asks by connect", run: func(s *script) {
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		k.pollFor(unix.POLLOUT, 10000)
		k.connect("B:7000")
		l := s.listener(s.b, "0.0.0.0:7000")
		k.connect("B:7000")
		k.pollFor(unix.POLLOUT, 10000)
		k.soError()
		talk(k, l.accept(0))
	}},
	{name: "unreachable", known: differences{
		// the bare host has no route there, and no neighbour that does not answer
		"s1 getsockname: 0.0.0.0:0": "s1 getsockname: 0.0.0.0:P1",
	}, run: func(s *script) {
		k := s.tcp(s.a)
		k.connect("203.0.113.201:7000")
		k.connect("203.0.113.201:7000")
		k.soError()
		k.sockname()
	}},
	{name: "SO_SNDTIMEO", run: func(s *script) {
		k := s.tcp(s.a)
		k.setTimeout(unix.SO_SNDTIMEO, 50)
		k.connect("203.0.113.200:7000")
		k.connect("203.0.113.200:7000")
		k.poll()
		k.soError()
	}},
	{name: "own address", run: func(s *script) {
		for _, at := range []string{"0.0.0.0:7000", "A:7001", "[::]:7002"} {
			l := s.listener(s.a, at)
			k := s.tcp(s.a)
			k.connect("A:" + at[len(at)-4:])
			k.sockname()
			k.peername()
			server := l.accept(0)
			server.sockname()
			server.peername()
			talk(k, server)
		}
	}},
	{name: "own address, non-blocking", run: func(s *script) {
		l := s.listener(s.a, "0.0.0.0:7000")
		k := s.tcpNB(s.a)
		k.connect("A:7000")
		k.await(unix.POLLOUT)
		k.soError()
		k.connect("A:7000")
		k.connect("A:7000")
		talk(k, l.accept(0))
	}},
	{name: "own address, refused", run: func(s *script) {
		s.listener(s.a, "127.0.0.1:7000")
		k := s.tcp(s.a)
		k.connect("A:7000")
		k.connect("A:7001")
		k.soError()
		nb := s.tcpNB(s.a)
		nb.connect("A:7000")
		nb.poll()
		nb.soError()
	}},
	{name: "localhost", run: func(s *script) {
		for _, at := range []string{"0.0.0.0:7000", "127.0.0.1:7001", "[::]:7002"} {
			l := s.listener(s.a, at)
			k := s.tcp(s.a)
			k.connect("127.0.0.1:" + at[len(at)-4:])
			k.sockname()
			k.peername()
			server := l.accept(0)
			server.sockname()
			server.peername()
			talk(k, server)
		}
	}},
	{name: "localhost, IPv6", run: func(s *script) {
		for _, at := range []string{"[::]:7000", "[::1]:7001"} {
			l := s.listener(s.a, at)
			k := s.tcp6(s.a)
			k.connect("[::1]:" + at[len(at)-4:])
			k.sockname()
			k.peername()
			server := l.accept(0)
			server.sockname()
			server.peername()
			talk(k, server)
		}
	}},
	{name: "the wildcard is localhost", run: func(s *script) {
		l := s.listener(s.a, "0.0.0.0:7000")
		k := s.tcp(s.a)
		k.connect("0.0.0.0:7000")
		k.sockname()
		k.peername()
		l.accept(0)
	}},
	{name: "localhost, refused", run: func(s *script) {
		s.listener(s.a, "A:7000")
		k := s.tcp(s.a)
		k.connect("127.0.0.1:7000")
		k.connect("127.0.0.1:7001")
		k6 := s.tcp6(s.a)
		k6.connect("[::1]:7000")
		nb := s.tcpNB(s.a)
		nb.connect("127.0.0.1:7000")
		nb.poll()
		nb.soError()
	}},
	{name: "each has its own localhost", run: func(s *script) {
		s.listener(s.b, "127.0.0.1:7000")
		k := s.tcp(s.a)
		k.connect("127.0.0.1:7000")
		k = s.tcp(s.a)
		k.connect("B:7000")
	}},
	{name: "mapped", run: func(s *script) {
		l := s.listener(s.b, "[::]:7000")
		k := s.tcp6(s.a)
		k.connect("[::ffff:203.0.113.11]:7000")
		k.sockname()
		k.peername()
		server := l.accept(0)
		server.sockname()
		server.peername()
		talk(k, server)
		k = s.tcp(s.a)
		k.connect("B:7000")
		server = l.accept(0)
		server.sockname()
		server.peername()
	}},
	{name: "mapped to itself", run: func(s *script) {
		l := s.listener(s.a, "0.0.0.0:7000")
		for _, to := range []string{"[::ffff:127.0.0.1]:7000",
			"[::ffff:203.0.113.10]:7000"} {
			k := s.tcp6(s.a)
			k.connect(to)
			k.sockname()
			k.peername()
			server := l.accept(0)
			server.sockname()
			server.peername()
		}
	}},
	{name: "mapped, V6ONLY", run: func(s *script) {
		k := s.tcp6(s.a)
		k.set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		k.connect("[::ffff:203.0.113.11]:7000")
		k.connect("[::ffff:127.0.0.1]:7000")
	}},
	{name: "bound", run: func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7000")
		for _, at := range []string{"0.0.0.0:7011", "A:7012", "A:0"} {
			k := s.tcp(s.a)
			k.bind(at)
			k.connect("B:7000")
			k.sockname()
			server := l.accept(0)
			server.peername()
			talk(k, server)
		}
		k := s.tcp6(s.a)
		k.bind("[::]:7013")
		k.connect("[::ffff:203.0.113.11]:7000")
		k.sockname()
		talk(k, l.accept(0))
	}},
	{name: "bound, to itself", run: func(s *script) {
		l := s.listener(s.a, "0.0.0.0:7000")
		for _, at := range []string{"0.0.0.0:7011", "A:7012", "127.0.0.1:7013"} {
			for _, to := range []string{"A:7000", "127.0.0.1:7000"} {
				k := s.tcp(s.a)
				k.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				k.bind(at)
				k.connect(to)
				k.sockname()
				server := l.accept(0)
				server.sockname()
				server.peername()
				k.resetOnClose()
				k.close()
			}
		}
	}},
	{name: "IPv6", run: func(s *script) {
		for i, at := range []string{"[::]:7000", "B6:7000"} {
			l := s.listener(s.b, at)
			for _, to := range []string{"B6:7000", "[::ffff:203.0.113.11]:7000",
				"B:7000"}[:3-2*i] {
				k := s.tcpFor(s.a, to)
				k.connect(to)
				server := l.accept(0)
				for _, end := range []*sock{k, server} {
					end.sockname()
					end.peername()
				}
				talk(k, server)
			}
			l.close()
		}
		k := s.tcp6(s.a)
		k.connect("B6:7000")
		k.soError()
	}},
	{name: "IPv6, bound, to itself", run: func(s *script) {
		l := s.listener(s.a, "[::]:7000")
		for _, at := range []string{"[::]:7011", "A6:7012", "[::1]:7013"} {
			for _, to := range []string{"A6:7000", "[::1]:7000", "[::]:7000"} {
				k := s.tcp6(s.a)
				k.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				k.bind(at)
				k.connect(to)
				k.sockname()
				k.peername()
				server := l.accept(0)
				server.sockname()
				server.peername()
				k.resetOnClose()
				k.close()
			}
		}
	}},
	{name: "a listener", run: func(s *script) {
		l := s.listener(s.a, "0.0.0.0:7000")
		l.connect("B:7000")
		l.connect("A:7000")
		l.connect("127.0.0.1:7000")
		l.accept(-1)
	}},
	{name: "odd arguments", run: oddConnects},
	{name: "other sockets", run: func(s *script) {
		udp := s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
		udp.connect("127.0.0.1:9")
		udp.peername()
		local := s.open(s.a, unix.AF_UNIX, unix.SOCK_STREAM)
		_, p := s.a.mem.take(128, append([]byte{unix.AF_UNIX, 0},
			"\x00no such boxer test socket"...))
		for _, nr := range []uintptr{unix.SYS_CONNECT, unix.SYS_BIND} {
			_, errno := local.call(nr, local.fdArg(), p, 24)
			local.printf("call %d: %s", nr, failed(errno))
		}
		local.sockname()
		local.listen(1)
		local.soError()
		local.peername()
	}},
	{name: "disconnect", run: func(s *script) {
		client, server := s.pair()
		_, p := s.a.mem.take(16, nil) // AF_UNSPEC
		_, errno := client.call(unix.SYS_CONNECT, client.fdArg(), p, 16)
		client.printf("disconnect: %s", failed(errno))
		client.peername()
		server.pollFor(unix.POLLIN, 10000)
		server.soError()
		clear(s.ports) // the kernel may choose the port of the first connection again
		l := s.listener(s.b, "0.0.0.0:7001")
		client.connect("B:7001")
		talk(client, l.accept(0))
	}},
}

// The same between two nodes on one host, where the connections are the
// kernel's own: also the differences vanish that come of the gate.
func TestConnectNear(t *testing.T) {
	sameHost := func(w *world) { w.net.sameHost = true }
	for _, tc := range connectCases {
		t.Run(tc.name, func(t *testing.T) {
			known := make(differences)
			for line, other := range tc.known {
				if !strings.HasSuffix(line, "poll: IN|OUT|ERR|HUP|RDHUP") &&
					!strings.HasSuffix(line, "ECONNABORTED") {
					known[line] = other
				}
			}
			compareWith(t, known, sameHost, tc.run)
		})
	}
}

// TestConnectOptimistic has every connect to a listener with room succeed without the far
// side's answer.
func TestConnectOptimistic(t *testing.T) {
	optimistic := func(w *world) { w.net.optimistic = true }
	for _, tc := range connectCases {
		t.Run(tc.name, func(t *testing.T) { compareWith(t, tc.known, optimistic, tc.run) })
	}
}

// TestAnnounce holds what the node tells the others of its listeners.
func TestAnnounce(t *testing.T) {
	s := boxedScript(t)
	w := s.world
	at := s.parse("B:7000")
	until := func(want int) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			got, ok := w.net.credit(at)
			if ok && got == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("credit %d (announced: %v), want %d", got, ok, want)
			}
		}
	}
	for _, to := range []string{"0.0.0.0:7000", "B:7000"} {
		k := s.tcp(s.b)
		k.bind(to)
		k.listen(100)
		until(101)
		k.close()
		until(0)
	}
	k := s.tcp(s.b) // too little
	k.bind("B:7000")
	k.listen(4)
	until(0)
	k = s.tcp(s.b) // not to be reached by others
	k.bind("127.0.0.1:7001")
	k.listen(100)
	if _, ok := w.net.credit(s.parse("B:7001")); ok {
		t.Error("a listener at localhost is announced")
	}
}

func oddConnects(s *script) {
	k := s.tcp(s.a)
	s.listener(s.b, "0.0.0.0:7000")
	good := encode(unix.AF_INET, s.parse("B:7000"))
	_, p := s.a.mem.take(128, good)
	for _, size := range []int{0, 1, 2, 8, 15, -1, 129, 1 << 20} {
		_, errno := k.call(unix.SYS_CONNECT, k.fdArg(), p, uintptr(size))
		k.printf("connect with %d bytes: %s", size, failed(errno))
	}
	_, errno := k.call(unix.SYS_CONNECT, k.fdArg(), 16, 16)
	k.printf("connect to a wild address: %s", failed(errno))
	_, errno = k.call(unix.SYS_CONNECT, 9999, p, 16)
	k.printf("connect of a bad descriptor: %s", failed(errno))
	_, errno = k.call(unix.SYS_CONNECT, 0xffffffff, p, 16)
	k.printf("connect of -1: %s", failed(errno))
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		s.t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for _, nr := range []uintptr{unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN,
		unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME} {
		_, size := s.a.mem.take(4, []byte{16, 0, 0, 0})
		args := []uintptr{uintptr(pipe[0]), p, 16}
		if nr == unix.SYS_ACCEPT4 || nr == unix.SYS_GETSOCKNAME ||
			nr == unix.SYS_GETPEERNAME {
			args[2] = size
		}
		_, errno = k.call(nr, args...)
		k.printf("call %d of a pipe: %s", nr, failed(errno))
		args[0] = 9999
		_, errno = k.call(nr, args...)
		k.printf("call %d of a bad descriptor: %s", nr, failed(errno))
	}
	_, p6 := s.a.mem.take(128, encode(unix.AF_INET6, s.parse("[::1]:7000")))
	_, errno = k.call(unix.SYS_CONNECT, k.fdArg(), p6, 28)
	k.printf("connect to IPv6: %s", failed(errno))
	k6 := s.tcp6(s.a)
	_, errno = k6.call(unix.SYS_CONNECT, k6.fdArg(), p, 16)
	k6.printf("connect to IPv4, 16 bytes: %s", failed(errno))
	_, p = s.a.mem.take(128, good)
	_, errno = k.call(unix.SYS_CONNECT, k.fdArg(), p, 128)
	k.printf("connect with 128 bytes: %s", failed(errno))
	_, unspec := s.a.mem.take(128, nil)
	fresh := s.tcp(s.a)
	_, errno = fresh.call(unix.SYS_CONNECT, fresh.fdArg(), unspec, 16)
	fresh.printf("disconnect: %s", failed(errno))
}

// talk sends something in both directions and closes both ends.
func talk(client, server *sock) {
	client.s.t.Helper()
	client.write("question")
	server.read()
	server.write("answer")
	client.read()
	client.close()
	server.read()
	server.peername()
	server.close()
}

// TestConnectRefusedRepeatedly finds out whether an attempt's end is one event:
// the error, the socket's state and the waiting call.
func TestConnectRefusedRepeatedly(t *testing.T) {
	s := boxedScript(t)
	k := s.tcp(s.a)
	for range 500 {
		s.lines = nil
		k.connect("B:7000")
		k.soError()
		if got := strings.Join(s.lines, ", "); got != "s1 connect B:7000: ECONNREFUSED, s1 SO_ERROR = ok" {
			t.Fatal(got)
		}
	}
}

// TestConnectClosedAtOnce finds out whether boxer holds on to a socket after connect has
// returned: its port would be taken.
func TestConnectClosedAtOnce(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	for range 300 {
		s.lines = nil
		k := s.tcp(s.a)
		k.bind("0.0.0.0:7010")
		if s.lines[0] != k.name+" bind 0.0.0.0:7010: ok" {
			t.Fatal(s.lines)
		}
		k.connect("B:7000")
		k.resetOnClose()
		k.close()
		l.accept(0).close()
	}
}
