package syscalls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A script is a program that makes system calls on two hosts and prints what they come
// to. Run on Linux and on boxer it has to print the same.
type script struct {
	*world
	lines   []string
	ports   map[uint16]string // names for ports that the kernel has chosen
	literal map[uint16]bool   // ports that the script has chosen
	// added to these, so that scripts on the same host do not meet
	offset uint16
	socks  int
}

// differences are lines that Linux prints and what boxer prints instead, on purpose.
type differences map[string]string

// compare runs a script on Linux and on boxer. It fails the test if boxer's lines differ
// in another way than in known.
func compare(t *testing.T, known differences, program func(*script)) {
	t.Helper()
	compareWith(t, known, nil, program)
}

// compareWith is compare with a boxed world that is changed first.
func compareWith(t *testing.T, known differences, change func(*world),
	program func(*script)) {
	t.Helper()
	want := runScript(bareWorld(t), program)
	var got []string
	ok := t.Run("boxer", func(t *testing.T) {
		w := boxedWorld(t)
		if change != nil {
			change(w)
		}
		got = runScript(w, program)
	})
	if !ok {
		return
	}
	seen := make(map[string]bool)
	for i, line := range want {
		if other, ok := known[line]; ok {
			seen[line] = true
			want[i] = other
		}
	}
	for line := range known {
		if !seen[line] {
			t.Errorf("Linux does not print %q any more", line)
		}
	}
	if !slices.Equal(want, got) {
		t.Errorf("boxer differs from Linux (and from what is expected):\n%s",
			sideBySide(want, got))
	}
}

// sideBySide prints the lines that differ, with the lines before them.
func sideBySide(want, got []string) string {
	const context = 3
	var b strings.Builder
	at := func(lines []string, i int) string {
		if i < len(lines) {
			return lines[i]
		}
		return "(ended)"
	}
	shown := 0
	for i := range max(len(want), len(got)) {
		w, g := at(want, i), at(got, i)
		if w == g {
			continue
		}
		for j := max(shown, i-context); j < i; j++ {
			fmt.Fprintf(&b, "   %s\n", at(want, j))
		}
		fmt.Fprintf(&b, "** %s\n   boxer: %s\n", w, g)
		shown = i + 1
	}
	return b.String()
}

// A script's ports are from firstPort up to portsEach more, or below 1024.
const (
	firstPort  = 7000
	portsEach  = 20
	maxScripts = 1000
)

var scripts atomic.Int64 // that have run

func runScript(w *world, program func(*script)) []string {
	s := &script{world: w, ports: map[uint16]string{}, literal: map[uint16]bool{}}
	s.offset = uint16(scripts.Add(1)%maxScripts) * portsEach
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the script, boxed: %t, with %d added to its ports, has printed:\n%s", w.boxed, s.offset, strings.Join(s.lines, "\n"))
		}
	}()
	program(s)
	return s.lines
}

func (s *script) printf(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// parse reads an address of the script's. A and B stand for the hosts'.
func (s *script) parse(text string) netip.AddrPort {
	text = strings.NewReplacer("A6", bracketed(addrA6), "B6", bracketed(addrB6), "A",
		addrA.String(), "B", addrB.String()).Replace(text)
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		s.t.Fatal(err)
	}
	port := a.Port()
	if port >= firstPort && port < firstPort+portsEach {
		port += s.offset
	}
	s.literal[port] = true
	return netip.AddrPortFrom(a.Addr(), port)
}

// name prints an address as parse reads it. Ports that the kernel has chosen have names
// in the order of their appearance.
func (s *script) name(a netip.AddrPort) string {
	n := a.Port()
	port := fmt.Sprint(n)
	switch {
	case s.literal[n] && n >= firstPort:
		port = fmt.Sprint(n - s.offset)
	case !s.literal[n] && n != 0:
		if s.ports[n] == "" {
			s.ports[n] = fmt.Sprint("P", len(s.ports)+1)
		}
		port = s.ports[n]
	}
	host := a.Addr().String()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return strings.NewReplacer(bracketed(addrA6), "A6", bracketed(addrB6), "B6",
		addrA.String(), "A", addrB.String(), "B").Replace(host) + ":" + port
}

func bracketed(a netip.Addr) string { return "[" + a.String() + "]" }

// encode returns an address as it lies in a program's memory, by ip(7) and ipv6(7), not
// by the code under test.
func encode(domain int, a netip.AddrPort) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(domain))
	b = binary.BigEndian.AppendUint16(b, a.Port())
	if domain == unix.AF_INET {
		return append(append(b, a.Addr().AsSlice()...), make([]byte, 8)...)
	}
	b = append(b, 0, 0, 0, 0)
	return append(append(b, a.Addr().AsSlice()...), 0, 0, 0, 0)
}

// decode is the inverse of encode.
func (s *script) decode(b []byte) string {
	if len(b) < 2 {
		return fmt.Sprintf("%x", b)
	}
	port := func() uint16 { return binary.BigEndian.Uint16(b[2:]) }
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) == 16:
		return s.name(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port())) +
			zeros(b[8:])
	case family == unix.AF_INET6 && len(b) == 28:
		return s.name(netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), port())) +
			zeros(b[4:8]) + zeros(b[24:])
	default:
		return fmt.Sprintf("family %d, %d bytes", family, len(b))
	}
}

// zeros complains about bytes that are not 0.
func zeros(b []byte) string {
	for _, c := range b {
		if c != 0 {
			return fmt.Sprintf(" +%x", b)
		}
	}
	return ""
}

// A sock is a program's socket.
type sock struct {
	s      *script
	m      *machine
	fd     int
	domain int
	name   string
	thread int
}

// failed prints a call's errno, or what it has returned.
func failed(errno unix.Errno) string {
	if errno == 0 {
		return "ok"
	}
	return unix.ErrnoName(errno)
}

func (s *script) adopt(m *machine, fd, domain int) *sock {
	s.socks++
	k := &sock{s: s, m: m, fd: fd, domain: domain, name: fmt.Sprintf("s%d", s.socks),
		thread: s.thread()}
	s.t.Cleanup(func() { k.shut() })
	return k
}

// shut closes the descriptor unless that has been done.
func (k *sock) shut() {
	if k.fd >= 0 {
		unix.Close(k.fd)
		k.fd = -1
	}
}

// tcp, tcp6 and nonblocking make sockets.
func (s *script) tcp(m *machine) *sock  { return s.open(m, unix.AF_INET, unix.SOCK_STREAM) }
func (s *script) tcp6(m *machine) *sock { return s.open(m, unix.AF_INET6, unix.SOCK_STREAM) }
func (s *script) tcpNB(m *machine) *sock {
	return s.open(m, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
}

func (s *script) open(m *machine, domain, typ int) *sock {
	fd, err := m.socket(domain, typ, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if isInet(domain) && typ&0xf == unix.SOCK_STREAM {
		s.ownPorts(fd)
	}
	return s.adopt(m, fd, domain)
}

// ownPorts has the kernel choose a port for the socket that no other of the script may
// get: at another address it could have the same, and then the same name.
func (s *script) ownPorts(fd int) {
	// linux/in.h, ip(7); since Linux 6.3, and without it two may meet
	const ipLocalPortRange, each = 51, 500
	low := 32768 + s.socks%50*each
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, ipLocalPortRange, (low+each-1)<<16|low)
}

// listener returns a socket that listens. As servers do, it sets SO_REUSEADDR:
// connections of a listener before may not have ended yet, since the kernel handles their
// last packets when it has time.
func (s *script) listener(m *machine, addr string) *sock {
	k := s.tcpFor(m, addr)
	k.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	k.bind(addr)
	k.listen(16)
	return k
}

// tcpFor returns a socket of the address's family.
func (s *script) tcpFor(m *machine, addr string) *sock {
	if addr[0] == '[' || addr[1] == '6' {
		return s.tcp6(m)
	}
	return s.tcp(m)
}

func (k *sock) printf(format string, args ...any) {
	k.s.printf("%s %s", k.name, fmt.Sprintf(format, args...))
}

func (k *sock) call(nr uintptr, args ...uintptr) (uintptr, unix.Errno) {
	return k.m.call(k.thread, nr, args...)
}

func (k *sock) fdArg() uintptr { return uintptr(k.fd) }

// withAddr makes a call with an address argument.
func (k *sock) withAddr(nr uintptr, addr string) *running {
	b := encode(k.domain, k.s.parse(addr))
	_, p := k.m.mem.take(len(b), b)
	return k.m.start(k.thread, nr, k.fdArg(), p, uintptr(len(b)))
}

func (k *sock) bind(addr string) {
	k.s.t.Helper()
	_, errno := k.withAddr(unix.SYS_BIND, addr).wait(k.s.t)
	k.printf("bind %s: %s", addr, failed(errno))
}

func (k *sock) listen(backlog int) {
	k.s.t.Helper()
	_, errno := k.call(unix.SYS_LISTEN, k.fdArg(), uintptr(backlog))
	k.printf("listen: %s", failed(errno))
}

func (k *sock) connect(addr string) {
	k.s.t.Helper()
	k.connectLater(addr)()
}

// connectLater starts a connect. The returned function waits for it.
func (k *sock) connectLater(addr string) func() {
	r := k.withAddr(unix.SYS_CONNECT, addr)
	return func() {
		k.s.t.Helper()
		_, errno := r.wait(k.s.t)
		k.printf("connect %s: %s", addr, failed(errno))
	}
}

// accept returns the accepted socket, or nil.
func (k *sock) accept(flags int) *sock {
	k.s.t.Helper()
	return k.acceptLater(flags)()
}

func (k *sock) acceptLater(flags int) func() *sock {
	addr, p := k.m.mem.take(abi.SizeofSockaddrStorage, nil)
	size, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, abi.SizeofSockaddrStorage))
	r := k.m.start(k.thread, unix.SYS_ACCEPT4, k.fdArg(), p, sp, uintptr(flags))
	return func() *sock {
		k.s.t.Helper()
		fd, errno := r.wait(k.s.t)
		if errno != 0 {
			k.printf("accept: %s", failed(errno))
			return nil
		}
		conn := k.s.adopt(k.m, int(fd), k.domain)
		k.printf("accept: %s from %s", conn.name,
			k.s.decode(addr[:binary.NativeEndian.Uint32(size)]))
		return conn
	}
}

func (k *sock) sockname() { k.s.t.Helper(); k.getname("getsockname", unix.SYS_GETSOCKNAME) }
func (k *sock) peername() { k.s.t.Helper(); k.getname("getpeername", unix.SYS_GETPEERNAME) }

func (k *sock) getname(name string, nr uintptr) string {
	k.s.t.Helper()
	addr, p := k.m.mem.take(abi.SizeofSockaddrStorage, nil)
	size, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, abi.SizeofSockaddrStorage))
	_, errno := k.call(nr, k.fdArg(), p, sp)
	if errno != 0 {
		k.printf("%s: %s", name, failed(errno))
		return ""
	}
	text := k.s.decode(addr[:binary.NativeEndian.Uint32(size)])
	k.printf("%s: %s", name, text)
	return text
}

func (k *sock) soError() {
	k.s.t.Helper()
	v, p := k.m.mem.take(4, nil)
	_, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, 4))
	_, errno := k.call(unix.SYS_GETSOCKOPT, k.fdArg(), unix.SOL_SOCKET, unix.SO_ERROR, p, sp)
	if errno != 0 {
		k.printf("SO_ERROR: %s", failed(errno))
		return
	}
	k.printf("SO_ERROR = %s", failed(unix.Errno(binary.NativeEndian.Uint32(v))))
}

var pollNames = []struct {
	event int16
	name  string
}{{unix.POLLIN, "IN"}, {unix.POLLOUT, "OUT"}, {unix.POLLERR, "ERR"},
	{unix.POLLHUP, "HUP"}, {unix.POLLRDHUP, "RDHUP"}}

// poll prints which events hold now.
func (k *sock) poll() { k.s.t.Helper(); k.printf("poll: %s", events(k.pollFor(-1, 0))) }

// await waits until one of events holds; what they are then is printed.
func (k *sock) await(wanted int16) {
	k.s.t.Helper()
	k.pollFor(wanted, int(patience.Milliseconds()))
	k.poll()
}

func (k *sock) pollFor(wanted int16, ms int) int16 {
	k.s.t.Helper()
	if wanted == -1 {
		wanted = unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP
	}
	p := []unix.PollFd{{Fd: int32(k.fd), Events: wanted}}
	for {
		n, err := unix.Poll(p, ms)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			k.s.t.Fatalf("%s: poll: %v", k.name, err)
		case n == 0 && ms > 0:
			k.s.t.Fatalf("%s: none of %s in %d ms", k.name, events(wanted), ms)
		}
		return p[0].Revents
	}
}

func events(ev int16) string {
	var names []string
	for _, e := range pollNames {
		if ev&e.event != 0 {
			names = append(names, e.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "|")
}

// readable waits until there is something to read or to accept.
func (k *sock) readable() { k.s.t.Helper(); k.pollFor(unix.POLLIN, int(patience.Milliseconds())) }

// write sends without SIGPIPE.
func (k *sock) write(text string) {
	k.s.t.Helper()
	err := unix.Sendto(k.fd, []byte(text), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
	k.printf("write %q: %s", text, failed(asErrno(err)))
}

// read waits for something to read.
func (k *sock) read() {
	k.s.t.Helper()
	k.readable()
	b := make([]byte, 64)
	n, _, err := unix.Recvfrom(k.fd, b, unix.MSG_DONTWAIT)
	if err != nil {
		k.printf("read: %s", failed(asErrno(err)))
		return
	}
	k.printf("read %q", b[:n])
}

func asErrno(err error) (errno unix.Errno) {
	errors.As(err, &errno)
	return errno
}

func (k *sock) shutdown(how int) {
	k.s.t.Helper()
	k.printf("shutdown %d: %s", how, failed(asErrno(unix.Shutdown(k.fd, how))))
}

func (k *sock) close() {
	k.shut()
	k.printf("close")
}

func (k *sock) set(level, opt, v int) {
	k.s.t.Helper()
	if err := unix.SetsockoptInt(k.fd, level, opt, v); err != nil {
		k.s.t.Fatal(err)
	}
}

func (k *sock) setTimeout(opt int, ms int64) {
	k.s.t.Helper()
	tv := unix.NsecToTimeval(ms * 1e6)
	if err := unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, opt, &tv); err != nil {
		k.s.t.Fatal(err)
	}
}

// resetOnClose makes close(2) send RST.
func (k *sock) resetOnClose() {
	k.s.t.Helper()
	if err := unix.SetsockoptLinger(k.fd, unix.SOL_SOCKET, unix.SO_LINGER,
		&unix.Linger{Onoff: 1}); err != nil {
		k.s.t.Fatal(err)
	}
}

// pair returns a connection from a to a listener on b.
func (s *script) pair() (client, server *sock) {
	s.t.Helper()
	l := s.listener(s.b, "0.0.0.0:7000")
	client = s.tcp(s.a)
	client.connect("B:7000")
	server = l.accept(0)
	return client, server
}

// boxedScript is a script for tests of what Linux does not have.
func boxedScript(t *testing.T) *script {
	t.Helper()
	return &script{world: boxedWorld(t), ports: map[uint16]string{},
		literal: map[uint16]bool{}}
}
