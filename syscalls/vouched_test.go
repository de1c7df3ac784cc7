package syscalls

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// TestOthersConnect has processes outside of the nodes connect to a listener from aliases
// of its own node and of a neighbour: they appear as neither.
func TestOthersConnect(t *testing.T) {
	s := boxedScript(t)
	s.net.sameHost = true
	l := s.listener(s.b, "0.0.0.0:7000")
	at := s.b.node.ports.kernels()
	if len(at) != 1 {
		t.Fatalf("listeners at %v", at)
	}
	neighbour := s.tcp(s.a)
	neighbour.connect("B:7000")
	own := s.tcp(s.b)
	own.connect("B:7000")
	for range 2 {
		l.accept(0).peername()
	}
	text := strings.Join(s.lines, "\n")
	for _, want := range []string{"getpeername: A:", "getpeername: B:",
		"accept: s4 from A:", "accept: s5 from B:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, tc := range []struct {
		name  string
		alias netip.Addr
		reset bool
	}{
		{"as the neighbour", s.a.node.Aliases.Public, false},
		{"as the neighbour's localhost", s.a.node.Aliases.Private, false},
		{"as the neighbour, reset", s.a.node.Aliases.Public, true},
		{"as the node itself", s.b.node.Aliases.Public, false},
		{"as the node itself, reset", s.b.node.Aliases.Public, true},
	} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, kernelSockaddr(unix.AF_INET,
			netip.AddrPortFrom(tc.alias, 0))); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, kernelSockaddr(unix.AF_INET, at[0])); err != nil {
			t.Fatal(err)
		}
		local, _, err := localName(fd)
		if err != nil {
			t.Fatal(err)
		}
		if tc.reset {
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER,
				&unix.Linger{Onoff: 1})
			unix.Close(fd)
		}
		name, p := s.b.mem.take(abi.SizeofSockaddrStorage, nil)
		_, sp := s.b.mem.take(4, []byte{abi.SizeofSockaddrStorage, 0, 0, 0})
		got, errno := l.call(unix.SYS_ACCEPT4, l.fdArg(), p, sp, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		defer unix.Close(int(got))
		if a, err := abi.ParseSockaddr(name[:abi.SizeofSockaddrInet4]); err != nil ||
			a.Addr != unmapped(local.Addr) {
			t.Errorf("%s: a process at %v appears as %v, %v", tc.name, local.Addr, a.Addr, err)
		}
	}
}

// TestVouched holds what is remembered of the sockets that a node vouches for.
func TestVouched(t *testing.T) {
	open := map[uint64]bool{}
	v := vouched{isOpen: func(cookie uint64, _, _ netip.AddrPort) bool { return open[cookie] }}
	mine, other := netip.MustParseAddr("127.64.0.16"), netip.MustParseAddr("127.64.0.32")
	local, remote := netip.MustParseAddrPort("127.64.0.17:40000"),
		netip.MustParseAddrPort("127.64.0.33:80")
	for cookie := range uint64(minVouched - 1) {
		v.note(cookie, mine)
		open[cookie] = cookie%2 == 0
		if !v.has(cookie, mine, local, remote) || v.has(cookie, other, local, remote) {
			t.Fatalf("socket %d is not the node's alone", cookie)
		}
	}
	const waits = 1 << 20 // nobody has looked at its connection
	v.note(waits, mine)
	v.note(waits+1, mine)
	for cookie := range uint64(minVouched - 1) {
		if got := v.has(cookie, mine, local, remote); got != open[cookie] {
			t.Fatalf("socket %d is known: %v, open: %v", cookie, got, open[cookie])
		}
	}
	if !v.has(waits, mine, local, remote) || !v.has(waits+1, mine, local, remote) {
		t.Error("a socket that waits to be accepted is forgotten")
	}
}

// TestVouchedMissed holds that after messages about destroyed sockets were lost, a
// connection that was reset is taken for the node's at whose address it was, for a while.
func TestVouchedMissed(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var v vouched
		mine, other := netip.MustParseAddr("127.64.0.16"), netip.MustParseAddr("127.64.0.32")
		at := netip.MustParseAddrPort("127.64.0.17:40000")
		if v.hadAt(at, mine) {
			t.Error("a socket that nobody has told of is the node's")
		}
		v.setMissed()
		if !v.hadAt(at, mine) {
			t.Error("a socket whose end was missed is a stranger's")
		}
		v.note(7, mine)
		v.end(7, at)
		if v.hadAt(at, other) || !v.hadAt(at, mine) {
			t.Error("a socket whose end was told is another node's")
		}
		time.Sleep(vouchedFor + time.Second)
		if v.hadAt(at, mine) {
			t.Error("a socket is the node's long after messages were missed")
		}
	})
}
