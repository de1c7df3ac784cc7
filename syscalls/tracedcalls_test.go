package syscalls

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// tracedNumbers are the calls that a traced world traps without conditions.
var tracedNumbers = map[string]uintptr{
	"accept4": unix.SYS_ACCEPT4, "bind": unix.SYS_BIND, "connect": unix.SYS_CONNECT,
	"getpeername": unix.SYS_GETPEERNAME, "getsockname": unix.SYS_GETSOCKNAME,
	"getsockopt": unix.SYS_GETSOCKOPT, "listen": unix.SYS_LISTEN,
	"recvfrom": unix.SYS_RECVFROM, "recvmsg": unix.SYS_RECVMSG,
	"sendmmsg": unix.SYS_SENDMMSG, "sendmsg": unix.SYS_SENDMSG,
	"sendto": unix.SYS_SENDTO, "setsockopt": unix.SYS_SETSOCKOPT,
	"shutdown": unix.SYS_SHUTDOWN, "socket": unix.SYS_SOCKET,
}

// A recorder is a Tracer that keeps what it gets as lines of a trace.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

// Called implements Tracer.
func (r *recorder) Called(c *Record) {
	defer c.Release()
	if c.Outcome == strace.Waits {
		return // it comes again at its end
	}
	d := c.Decode(32)
	for i := range d.Args {
		if fd, kind, ok := strings.Cut(d.Args[i], "<"); ok && fd != "" {
			d.Args[i] = "FD<" + kind
		}
	}
	line := fmt.Sprintf("%s(%s)", d.Name, strings.Join(d.Args, ", "))
	switch c.Outcome {
	case strace.Returned:
		line += fmt.Sprintf(" = %d", c.Value)
	case strace.FailedBy:
		line += " = " + unix.ErrnoName(c.Errno)
	default:
		line += " = ?"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

// has reports whether a line contains all parts.
func (r *recorder) has(parts ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.lines, func(line string) bool {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				return false
			}
		}
		return true
	})
}

// trace traces all calls of a world.
func trace(w *world) *recorder {
	r := &recorder{}
	var shown []uintptr
	for _, nr := range tracedNumbers {
		shown = append(shown, nr)
	}
	slices.Sort(shown)
	for _, m := range []*machine{w.a, w.b} {
		t := NewTracing(r, shown, strace.Numbers{Native: tracedNumbers})
		t.Bytes, t.FDs = 32, true
		m.node.Trace(t)
		m.rows = byNumber(Traced(shown))
	}
	return r
}

// TestTraced makes calls that a traced node does itself, on Linux and on boxer: the
// program must not notice, and the trace must have their results.
func TestTraced(t *testing.T) {
	for _, tc := range tracedCases {
		t.Run(tc.name, func(t *testing.T) {
			var r *recorder
			compareWith(t, nil, func(w *world) {
				carryDatagrams(w)
				r = trace(w)
			}, tc.run)
			for _, want := range tc.want {
				if parts := strings.Split(want, " ... "); !r.has(parts...) {
					t.Errorf("the trace has no line with %q", parts)
				}
			}
			if t.Failed() {
				t.Logf("the trace:\n%s", strings.Join(r.lines, "\n"))
			}
		})
	}
}

var tracedCases = []struct {
	name string
	run  func(*script)
	want []string // parts of lines of the trace, between dots
}{
	{name: "TCP to a node", run: func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7000")
		client := s.tcp(s.a)
		client.connect("B:7000")
		server := l.accept(0)
		client.sendto("question", "", unix.MSG_NOSIGNAL)
		server.readable()
		server.recvfrom(64, unix.MSG_PEEK)
		server.recvfrom(3, 0)
		server.recvmsg(64, 0, false, 0)
		wait := client.recvfromLater(64, 0)
		server.sendmsg("answer", "", nil, 0)
		wait()
		client.peername()
		client.sockname()
		client.callShutdown(unix.SHUT_WR)
		server.recvfrom(64, 0)
		server.callShutdown(9)
		server.recvfrom(64, unix.MSG_DONTWAIT)
		client.setInt("TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		client.getInt("TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 4)
		client.getInt("SO_TYPE", unix.SOL_SOCKET, unix.SO_TYPE, 4)
		client.getInt("SO_TYPE in a byte", unix.SOL_SOCKET, unix.SO_TYPE, 1)
		client.getInt("SO_TYPE in no room", unix.SOL_SOCKET, unix.SO_TYPE, -1)
		client.sendto("late", "", unix.MSG_NOSIGNAL)
	}, want: []string{
		`listen(FD<TCP:[0.0.0.0: ... = 0`,
		`connect(FD<TCP ... sin_addr=inet_addr("203.0.113.11") ... = 0`,
		`accept4(FD<TCP:[0.0.0.0: ... inet_addr("203.0.113.10")`,
		`sendto(FD<TCP:[203.0.113.10: ... "question", 8, MSG_NOSIGNAL, NULL, 0) = 8`,
		`recvfrom(FD<TCP:[203.0.113.11: ... "que", 3, 0, ... = 3`,
		`recvmsg( ... "stion" ... = 5`,
		`sendmsg( ... "answer" ... = 6`,
		`recvfrom( ... "answer", 64, 0 ... = 6`,
		`shutdown( ... SHUT_WR) = 0`,
		`shutdown( ... = EINVAL`,
		`setsockopt( ... TCP_NODELAY, [1], 4) = 0`,
		`getsockopt( ... SO_TYPE, [1], [4]) = 0`,
		`sendto( ... "late" ... = EPIPE`,
	}},
	{name: "TCP on localhost", run: func(s *script) {
		l := s.listener(s.a, "127.0.0.1:7000")
		client := s.tcp(s.a)
		client.connect("127.0.0.1:7000")
		server := l.accept(0)
		server.sendto("hello", "", 0)
		client.readable()
		client.recvfrom(64, 0)
		client.connect("127.0.0.1:7000")
		s.tcpNB(s.a).recvfrom(64, 0)
		s.tcp(s.a).sendto("to nobody", "", unix.MSG_NOSIGNAL)
		s.tcp(s.a).peername()
		client.close()
		server.recvfrom(64, 0)
	}, want: []string{`connect( ... "127.0.0.1" ... = 0`, `connect( ... = EISCONN`,
		`recvfrom(FD<TCP:[127.0.0.1: ... "hello" ... = 5`, `recvfrom( ... = ENOTCONN`,
		`getpeername(FD<TCP:[0.0.0.0:0]>, ... = ENOTCONN`}},
	{name: "UDP", run: func(s *script) {
		client, server := s.udp(s.a), s.udp(s.b)
		server.bind("0.0.0.0:7000")
		server.listen(1)
		client.connect("B:7000")
		client.sendto("one", "", 0)
		client.sendmsg("two", "", nil, 0)
		client.sendmmsg("", 0, "three", "four")
		client.sendto("five", "B:7000", 0)
		for range 5 {
			server.readable()
			server.recvfrom(64, 0)
		}
		server.setTimeout(unix.SO_RCVTIMEO, 20)
		server.recvfrom(64, 0)
		wait := server.recvfromLater(2, unix.MSG_TRUNC)
		server.setTimeout(unix.SO_RCVTIMEO, 0)
		client.sendto("six", "", unix.MSG_CONFIRM)
		wait()
		client.sendto("seven", "", unix.MSG_MORE)
	}, want: []string{`sendto(FD<UDP:[ ... "one", 3, 0, NULL, 0) = 3`, `sendmsg( ... "two" ... = 3`,
		`sendmmsg( ... "three" ... = 2`, `sendto( ... "five" ... "203.0.113.11" ... = 4`,
		`recvfrom( ... = EAGAIN`, `listen( ... = ENOTSUP`}},
	{name: "names", run: func(s *script) {
		k := s.udp(s.a)
		k.nameInto("getsockname", unix.SYS_GETSOCKNAME, 4)
		k.nameInto("getsockname", unix.SYS_GETSOCKNAME, -1)
		k.nameInto("getpeername", unix.SYS_GETPEERNAME, 16)
		k.shut()
		k.fd = -1
		k.nameInto("getsockname", unix.SYS_GETSOCKNAME, 16)
	}, want: []string{`getsockname(FD<UDP:[0.0.0.0:0]>, {sa_family=AF_INET ... [4 => 16]) = 0`,
		`getpeername( ... = ENOTCONN`, `getsockname(-1 ... = EBADF`}},
	{name: "sockets that are not the network's", run: func(s *script) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		a, b := s.adopt(s.a, pair[0], unix.AF_UNIX), s.adopt(s.a, pair[1], unix.AF_UNIX)
		a.sendto("over a pair", "", 0)
		b.recvfrom(64, 0)
		a.sendmsg("again", "", nil, 0)
		b.recvmsg(64, 64, false, 0)
		a.listen(1)
		a.callShutdown(unix.SHUT_RDWR)
		b.recvfrom(64, 0)
		a.setInt("SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, 1)
		a.getInt("SO_PEERCRED", unix.SOL_SOCKET, unix.SO_PEERCRED, 4)
		a.getInt("an option that is not", unix.SOL_SOCKET, 9999, 4)
	}, want: []string{`sendto(FD<UNIX-STREAM>, "over a pair" ... = ?`}},
}

// callShutdown calls shutdown(2) as a trapped call.
func (k *sock) callShutdown(how int) {
	k.s.t.Helper()
	_, errno := k.call(unix.SYS_SHUTDOWN, k.fdArg(), uintptr(how))
	k.printf("shutdown %d: %s", how, failed(errno))
}

// nameInto asks for an address with so much room.
func (k *sock) nameInto(name string, nr uintptr, room int) {
	k.s.t.Helper()
	b, p := k.m.mem.take(32, nil)
	size, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, uint32(room)))
	_, errno := k.call(nr, k.fdArg(), p, sp)
	k.printf("%s in %d bytes: %s, %x, then %d", name, room, failed(errno), b[:8],
		int32(binary.NativeEndian.Uint32(size)))
}

// TestTracedSocket has a traced node make the sockets that it can make for a program.
func TestTracedSocket(t *testing.T) {
	s := boxedScript(t)
	r := trace(s.world)
	for _, tc := range []struct {
		domain, typ, proto int
		want               string // of the trace
		errno              unix.Errno
	}{
		{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, 0, "= FD", 0},
		{unix.AF_INET6, unix.SOCK_DGRAM, 0, "= FD", 0},
		{unix.AF_UNIX, unix.SOCK_SEQPACKET, 0, "= FD", 0},
		{unix.AF_INET, unix.SOCK_SEQPACKET, 0, "= ESOCKTNOSUPPORT", unix.ESOCKTNOSUPPORT},
		{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, "= EPROTONOSUPPORT",
			unix.EPROTONOSUPPORT},
		{77, unix.SOCK_STREAM, 0, "= EAFNOSUPPORT", unix.EAFNOSUPPORT},
		{unix.AF_PACKET, unix.SOCK_RAW, 0, "= ?", 0}, // the kernel makes it
	} {
		r.lines = nil
		fd, errno := s.a.call(os.Getpid(), unix.SYS_SOCKET, uintptr(tc.domain),
			uintptr(tc.typ), uintptr(tc.proto))
		if errno != tc.errno {
			t.Errorf("%+v: %v, want %v", tc, errno, tc.errno)
		}
		want := tc.want
		if errno == 0 {
			want = strings.Replace(want, "FD", fmt.Sprint(fd), 1)
			flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
			if cloexec := flags&unix.FD_CLOEXEC != 0; err != nil ||
				cloexec != (tc.typ&unix.SOCK_CLOEXEC != 0) {
				t.Errorf("%+v: close-on-exec is %v, %v", tc, cloexec, err)
			}
			domain, typ, err := kind(int(fd))
			if err != nil || domain != tc.domain || typ != tc.typ&sockTypeMask {
				t.Errorf("%+v: the socket is %d, %d, %v", tc, domain, typ, err)
			}
			unix.Close(int(fd))
		}
		if !r.has("socket(", want) && tc.proto != unix.IPPROTO_MPTCP {
			t.Errorf("the trace has no %q: %q", want, r.lines)
		}
	}
}

// TestTracedOutside connects traced sockets to a server of the host.
func TestTracedOutside(t *testing.T) {
	s := boxedScript(t)
	r := trace(s.world)
	host, kernel := udpAt(t, unix.AF_INET, netip.AddrPortFrom(localhost4, 0))
	defer unix.Close(host)
	k := s.udp(s.a)
	to := encode(unix.AF_INET, kernel)
	_, p := s.a.mem.take(len(to), to)
	for _, size := range []int{len(to), -1, 200} {
		_, errno := k.call(unix.SYS_CONNECT, k.fdArg(), p, uintptr(size))
		if want := map[int]unix.Errno{len(to): 0}[size]; size != len(to) &&
			errno != unix.EINVAL ||
			size == len(to) && errno != want {
			t.Errorf("connect with an address of %d bytes: %v", size, errno)
		}
	}
	k.sendto("to the host", "", 0)
	if got, err := received(host); got != "to the host" {
		t.Errorf("the host got %q, %v", got, err)
	}
	if !r.has("connect(FD<UDP", "= 0") || !r.has("connect(", "= EINVAL") {
		t.Errorf("the trace: %q", r.lines)
	}
}
