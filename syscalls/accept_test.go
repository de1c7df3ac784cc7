package syscalls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAccept(t *testing.T) {
	for _, tc := range []struct {
		name  string
		known differences
		run   func(*script)
	}{
		{name: "non-blocking", run: func(s *script) {
			l := s.tcpNB(s.b)
			l.bind("0.0.0.0:7000")
			l.accept(0)
			l.listen(4)
			l.accept(0)
			k := s.tcp(s.a)
			k.connect("B:7000")
			l.readable()
			server := l.accept(0)
			server.sockname()
			server.flags()
			l.accept(0)
			talk(k, server)
		}},
		{name: "blocking", run: func(s *script) {
			l := s.listener(s.b, "B:7000")
			accepted := l.acceptLater(0)
			k := s.tcp(s.a)
			k.bind("A:7010")
			k.connect("B:7000")
			server := accepted()
			server.flags()
			talk(k, server)
		}},
		{name: "flags", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			for _, flags := range []int{0, unix.SOCK_NONBLOCK, unix.SOCK_CLOEXEC,
				unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC} {
				s.tcp(s.a).connect("B:7000")
				server := l.accept(flags)
				server.flags()
			}
			l.accept(1)
			l.accept(-1)
			l.accept(unix.SOCK_NONBLOCK | unix.MSG_DONTWAIT)
		}},
		{name: "SO_RCVTIMEO", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			l.setTimeout(unix.SO_RCVTIMEO, 30)
			l.accept(0)
			s.tcp(s.a).connect("B:7000")
			l.accept(0)
		}},
		{name: "not a listener", run: func(s *script) {
			s.tcp(s.a).accept(0)
			s.tcpNB(s.a).accept(0)
			client, server := s.pair()
			client.accept(0)
			server.accept(0)
			s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM).accept(0)
		}},
		{name: "a closed connection", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			k := s.tcp(s.a)
			k.connect("B:7000")
			k.write("farewell")
			k.close()
			server := l.accept(0)
			server.read()
			server.read()
			server.peername()
		}},
		{name: "odd addresses", run: oddAccepts},
		{name: "accept(2)", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			k := s.tcp(s.a)
			k.connect("B:7000")
			addr, p := l.m.mem.take(16, nil)
			_, sp := l.m.mem.take(4, []byte{16, 0, 0, 0})
			// it has no flags
			fd, errno := l.call(unix.SYS_ACCEPT, l.fdArg(), p, sp, 0xdeadbeef)
			l.printf("accept: %s from %s", failed(errno), s.decode(addr))
			talk(k, s.adopt(s.b, int(fd), unix.AF_INET))
		}},
		{name: "without an address", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			k := s.tcp(s.a)
			k.connect("B:7000")
			fd, errno := l.call(unix.SYS_ACCEPT4, l.fdArg(), 0, 0, 0)
			l.printf("accept: %s", failed(errno))
			server := s.adopt(s.b, int(fd), unix.AF_INET)
			server.peername()
			server.sockname()
			talk(k, server)
		}},
		{name: "two wait", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			other := &sock{s: s, m: s.b, fd: l.fd, domain: l.domain, name: "s1",
				thread: s.thread()}
			one, two := l.acceptLater(0), other.acceptLater(0)
			s.tcp(s.a).connect("B:7000")
			s.tcp(s.a).connect("B:7000")
			at := len(s.lines)
			one()
			two()
			s.printf("%d accepted", strings.Count(strings.Join(s.lines[at:], "\n"), "from A"))
			// in which order, nobody says
			s.lines = append(s.lines[:at], s.lines[at+2:]...)
		}},
		{name: "Unix", run: func(s *script) {
			l := s.open(s.a, unix.AF_UNIX, unix.SOCK_STREAM)
			_, p := s.a.mem.take(8, []byte{unix.AF_UNIX, 0}) // autobind, unix(7)
			_, errno := l.call(unix.SYS_BIND, l.fdArg(), p, 2)
			l.printf("bind: %s", failed(errno))
			l.listen(1)
			name, np := s.a.mem.take(128, nil)
			size, sp := s.a.mem.take(4, []byte{128, 0, 0, 0})
			_, errno = l.call(unix.SYS_GETSOCKNAME, l.fdArg(), np, sp)
			l.printf("getsockname: %s, %d bytes, family %d", failed(errno), size[0], name[0])
			k := s.open(s.a, unix.AF_UNIX, unix.SOCK_STREAM)
			_, errno = k.call(unix.SYS_CONNECT, k.fdArg(), np, uintptr(size[0]))
			k.printf("connect: %s", failed(errno))
			server := l.accept(0)
			server.peername()
			talk(k, server)
		}},
		{name: "listen again", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			l.listen(5)
			l.listen(0)
			l.listen(-1)
			k := s.tcp(s.a)
			k.connect("B:7000")
			k.listen(1)
			s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM).listen(1)
		}},
		{name: "the listener is closed", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			k := s.tcp(s.a)
			k.connect("B:7000")
			l.close()
			k.pollFor(unix.POLLIN, 10000)
			k.read()
			k = s.tcp(s.a)
			k.connect("B:7000")
		}},
		{name: "listening ends by shutdown", run: func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			l.shutdown(unix.SHUT_RD)
			l.accept(0)
			s.tcp(s.a).connect("B:7000")
			l.listen(1)
			s.tcp(s.a).connect("B:7000")
			l.accept(0)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, tc.known, tc.run) })
	}
}

// flags prints O_NONBLOCK and FD_CLOEXEC.
func (k *sock) flags() {
	k.s.t.Helper()
	status, err := unix.FcntlInt(uintptr(k.fd), unix.F_GETFL, 0)
	if err != nil {
		k.s.t.Fatal(err)
	}
	fd, err := unix.FcntlInt(uintptr(k.fd), unix.F_GETFD, 0)
	if err != nil {
		k.s.t.Fatal(err)
	}
	k.printf("non-blocking %t, close-on-exec %t", status&unix.O_NONBLOCK != 0,
		fd&unix.FD_CLOEXEC != 0)
}

// inNone returns a letter that is in none of the addresses as they lie in memory.
func (s *script) inNone(addrs ...string) string {
	letter := byte('a')
	for i := 0; i < len(addrs); i++ {
		if bytes.IndexByte(encode(unix.AF_INET, s.parse(addrs[i])), letter) >= 0 {
			letter, i = letter+1, -1
		}
	}
	return string(rune(letter))
}

// oddAccepts calls accept4, getsockname and getpeername with buffers that are too small
// or not there.
func oddAccepts(s *script) {
	l := s.listener(s.b, "0.0.0.0:7000")
	connected := s.tcp(s.a)
	connected.bind("0.0.0.0:7011")
	connected.connect("B:7000")
	l.accept(0)
	empty := s.inNone("B:7000", "A:7010", "A:7011")
	for _, size := range []int32{-1, 0, 1, 4, 8, 15, 16, 17, 128, 1 << 30} {
		k := s.tcp(s.a)
		k.bind("0.0.0.0:7010")
		k.connect("B:7000")
		for _, c := range []struct {
			name string
			k    *sock
			nr   uintptr
		}{
			{"accept4", l, unix.SYS_ACCEPT4},
			{"getsockname", connected, unix.SYS_GETSOCKNAME},
			{"getpeername", connected, unix.SYS_GETPEERNAME},
		} {
			addr, p := c.k.m.mem.take(64, []byte(strings.Repeat(empty, 64)))
			room, sp := c.k.m.mem.take(4,
				binary.NativeEndian.AppendUint32(nil, uint32(size)))
			fd, errno := c.k.call(c.nr, c.k.fdArg(), p, sp, 0)
			if c.nr == unix.SYS_ACCEPT4 && errno == 0 {
				unix.Close(int(fd))
			}
			written := 64 - len(bytes.TrimLeft(addr, empty))
			kept := bytes.TrimRight(addr, empty)
			s.printf("%s with room for %d: %s, %d bytes kept, room %d (%d)", c.name, size,
				failed(errno), len(kept),
				int32(binary.NativeEndian.Uint32(room)), written)
		}
		k.resetOnClose()
		k.shut()
		if size == -1 {
			s.drain(l)
		}
	}
	_, good := s.b.mem.take(64, nil)
	_, room := s.b.mem.take(4, []byte{16, 0, 0, 0})
	for _, c := range []struct{ addr, size uintptr }{{16, room}, {good, 16}, {good, 0},
		{16, 16}} {
		k := s.tcp(s.a)
		k.connect("B:7000")
		fd, errno := l.call(unix.SYS_ACCEPT4, l.fdArg(), c.addr, c.size, 0)
		if errno == 0 {
			unix.Close(int(fd))
		}
		l.printf("accept4 at a wild address: %s", failed(errno))
		s.drain(l)
		for _, nr := range []uintptr{unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME} {
			_, errno := connected.call(nr, connected.fdArg(), c.addr, c.size)
			l.printf("call %d at a wild address: %s", nr, failed(errno))
		}
	}
	// A failed accept has cost Linux the connection: the client learns that.
	k := s.tcp(s.a)
	k.connect("B:7000")
	_, errno := l.call(unix.SYS_ACCEPT4, l.fdArg(), 16, room, 0)
	l.printf("accept4: %s", failed(errno))
	k.pollFor(unix.POLLIN, 10000)
	k.read()
	_, errno = connected.call(unix.SYS_GETPEERNAME, connected.fdArg(), 0, 0)
	connected.printf("getpeername of NULL: %s", failed(errno))
}

// drain accepts what waits at the listener, so that the next accept gets the next
// connection.
func (s *script) drain(l *sock) {
	for l.pollFor(unix.POLLIN, 0) != 0 {
		fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		unix.Close(fd)
	}
}

func TestSocketError(t *testing.T) {
	compare(t, nil, func(s *script) {
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		k.await(unix.POLLOUT)
		ask := func(name string, fd, p, sp uintptr) {
			s.t.Helper()
			_, errno := k.call(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_ERROR, p, sp)
			k.printf("SO_ERROR, %s: %s", name, failed(errno))
		}
		_, p := s.a.mem.take(4, nil)
		_, four := s.a.mem.take(4, []byte{4, 0, 0, 0})
		ask("bad descriptor", 9999, p, four)
		other := s.tcp(s.a)
		other.soError() // another socket's error is not ours
		for _, size := range []byte{1, 2, 3, 8} {
			k = s.tcpNB(s.a)
			v, p := s.a.mem.take(8, []byte("xxxxxxxx"))
			room, sp := s.a.mem.take(4, []byte{size, 0, 0, 0})
			k.connect("B:7000")
			k.pollFor(unix.POLLOUT, 10000)
			ask(fmt.Sprintf("%d bytes", size), k.fdArg(), p, sp)
			k.printf("value %x, room %d", v, room[0])
		}
	})
}

// TestRefusedCalls tests the calls that are answered by the filter alone.
func TestRefusedCalls(t *testing.T) {
	s := boxedScript(t)
	if _, errno := s.a.call(s.thread(), unix.SYS_IO_URING_SETUP, 8,
		16); errno != unix.ENOSYS {
		t.Errorf("io_uring_setup: %v", errno)
	}
	if _, errno := s.a.call(s.thread(), unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM,
		unix.IPPROTO_MPTCP); errno != unix.EPROTONOSUPPORT {
		t.Errorf("socket of MPTCP: %v", errno)
	}
}
