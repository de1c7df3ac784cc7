package linux

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// testDiag returns a SockDiag, or skips the test where the kernel has none.
func testDiag(t testing.TB) *SockDiag {
	t.Helper()
	d, err := OpenSockDiag()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(d.Close)
	return d
}

// sockaddr is an address as a socket of a domain takes it.
func sockaddr(domain int, at netip.AddrPort) unix.Sockaddr {
	if domain == unix.AF_INET6 {
		return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
}

// socketAt makes a socket, bound to an address if that is valid.
func socketAt(t *testing.T, domain, typ int, at netip.AddrPort) int {
	t.Helper()
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
	if err == nil && at.IsValid() {
		err = unix.Bind(fd, sockaddr(domain, at))
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// nameOf returns the address of a socket as others on loopback see it.
func nameOf(t *testing.T, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	var at netip.AddrPort
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(loopback.Addr(), at.Port())
	}
	return at
}

func cookieOf(t *testing.T, fd int) uint64 {
	t.Helper()
	id, err := GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func listenAt(t *testing.T) (fd int, at netip.AddrPort) {
	t.Helper()
	fd = socketAt(t, unix.AF_INET, unix.SOCK_STREAM, loopback)
	if err := unix.Listen(fd, 4); err != nil {
		t.Fatal(err)
	}
	return fd, nameOf(t, fd)
}

func TestSockDiagTCP(t *testing.T) {
	d := testDiag(t)
	l, at := listenAt(t)
	defer unix.Close(l)
	s, found, err := d.Listener(at)
	want := DiagSocket{Addr: at, Cookie: cookieOf(t, l), State: tcpListen,
		UID: uint32(os.Geteuid()), Inode: s.Inode, Backlog: 4}
	if err != nil || !found || s != want || s.Inode == 0 {
		t.Errorf("the listener: %+v, %t, %v; want %+v", s, found, err, want)
	}
	client := socketAt(t, unix.AF_INET, unix.SOCK_STREAM, netip.AddrPort{})
	defer unix.Close(client)
	if err := unix.Connect(client, sockaddr(unix.AF_INET, at)); err != nil {
		t.Fatal(err)
	}
	const established = 1
	s, found, err = d.Connection(nameOf(t, client), at)
	if err != nil || !found || s.Cookie != cookieOf(t, client) || s.State != established {
		t.Errorf("the connection: %+v, %t, %v", s, found, err)
	}
	if s, _, _ := d.Listener(at); s.Waiting != 1 {
		t.Errorf("%d connections wait, want 1", s.Waiting)
	}
	free := netip.AddrPortFrom(at.Addr(), 1)
	if _, found, err := d.Listener(free); err != nil || found {
		t.Errorf("where nobody is: %t, %v", found, err)
	}
}

// TestSockDiagUDP asks for sockets in the states in which programs send to the
// supervisor.
func TestSockDiagUDP(t *testing.T) {
	d := testDiag(t)
	if !d.HasUDP() {
		t.Skip("no udp_diag")
	}
	peer := socketAt(t, unix.AF_INET, unix.SOCK_DGRAM, loopback)
	defer unix.Close(peer)
	to := nameOf(t, peer)
	other := netip.MustParseAddrPort("127.99.0.1:0")
	for _, tc := range []struct {
		name    string
		domain  int
		at      netip.AddrPort
		connect bool
	}{
		{"bound to loopback", unix.AF_INET, loopback, false},
		{"bound to any address", unix.AF_INET, netip.MustParseAddrPort("0.0.0.0:0"), false},
		{"connected", unix.AF_INET, netip.AddrPort{}, true},
		{"bound and connected", unix.AF_INET, other, true},
		{"IPv6, v4-mapped", unix.AF_INET6, other, false},
		{"IPv6, any address", unix.AF_INET6, netip.MustParseAddrPort("[::]:0"), false},
		{"IPv6, connected", unix.AF_INET6, netip.AddrPort{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fd := socketAt(t, tc.domain, unix.SOCK_DGRAM, tc.at)
			if tc.connect {
				if err := unix.Connect(fd, sockaddr(tc.domain, to)); err != nil {
					t.Fatal(err)
				}
			}
			local := nameOf(t, fd)
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				t.Fatal(err)
			}
			s, found, err := d.Datagram(local, to)
			if err != nil || !found || s.Cookie != cookieOf(t, fd) ||
				s.UID != uint32(os.Geteuid()) || s.Inode != uint32(st.Ino) {
				t.Errorf("%+v, %t, %v", s, found, err)
			}
			if all, err := d.UDPCookies(); err != nil || !all[s.Cookie] {
				t.Errorf("not among the %d sockets listed: %v", len(all), err)
			}
			unix.Close(fd)
			if s, found, err := d.Datagram(local, to); err != nil || found {
				t.Errorf("after close: %+v, %t, %v", s, found, err)
			}
			if all, err := d.UDPCookies(); err != nil || all[s.Cookie] {
				t.Errorf("still listed after close: %v", err)
			}
		})
	}
}

// TestSockDiagLists lists more sockets than one read of the answer takes.
func TestSockDiagLists(t *testing.T) {
	d := testDiag(t)
	if !d.HasUDP() {
		t.Skip("no udp_diag")
	}
	want := make(map[uint64]bool)
	for i := range 3 * dumpSize / diagMsgSize {
		domain := []int{unix.AF_INET, unix.AF_INET6}[i%2]
		fd := socketAt(t, domain, unix.SOCK_DGRAM,
			netip.MustParseAddrPort("127.99.0.1:0"))
		defer unix.Close(fd)
		want[cookieOf(t, fd)] = true
	}
	got, err := d.UDPCookies()
	if err != nil {
		t.Fatal(err)
	}
	for cookie := range want {
		if !got[cookie] {
			t.Fatalf("one of %d sockets is not among the %d listed", len(want), len(got))
		}
	}
}

// TestSockDiagWithoutDescriptors asks when the process can open none.
func TestSockDiagWithoutDescriptors(t *testing.T) {
	d := testDiag(t)
	l, at := listenAt(t)
	defer unix.Close(l)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	_, found, err := d.Listener(at)
	_, opened := Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if !errors.Is(opened, unix.EMFILE) {
		t.Errorf("socket: %v, want EMFILE", opened)
	}
	if err != nil || !found {
		t.Errorf("the listener: %t, %v", found, err)
	}
}

// TestSockDiagFails holds that a question which could not be asked has an error, and is
// not answered with "nobody".
func TestSockDiagFails(t *testing.T) {
	var none *SockDiag
	if _, found, err := none.Listener(loopback); found || !errors.Is(err, ErrNoSockDiag) {
		t.Errorf("without sock_diag: %t, %v", found, err)
	}
	if _, found, err := none.Datagram(loopback, loopback); found ||
		!errors.Is(err, ErrNoSockDiag) || none.HasUDP() {
		t.Errorf("UDP without sock_diag: %t, %v", found, err)
	}
	if _, err := none.UDPCookies(); !errors.Is(err, ErrNoSockDiag) {
		t.Errorf("the list without sock_diag: %v", err)
	}
	d := testDiag(t)
	d.Close()
	if _, found, err := d.Listener(loopback); found || !errors.Is(err, unix.EBADF) {
		t.Errorf("after Close: %t, %v", found, err)
	}
}

// diagMessage makes a message of sock_diag(7).
func diagMessage(family byte, source []byte, port uint16, state byte, waiting,
	backlog uint32) []byte {
	b := make([]byte, diagMsgSize)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	b[DiagFamily], b[diagState] = family, state
	binary.BigEndian.PutUint16(b[DiagSport:], port)
	copy(b[DiagSource:], source)
	binary.NativeEndian.PutUint64(b[diagCookie:], 7)
	binary.NativeEndian.PutUint32(b[diagUID:], 1000)
	binary.NativeEndian.PutUint32(b[diagInode:], 99)
	binary.NativeEndian.PutUint32(b[diagRqueue:], waiting)
	binary.NativeEndian.PutUint32(b[diagWqueue:], backlog)
	return b
}

func TestDiagAnswer(t *testing.T) {
	at := netip.MustParseAddrPort("127.64.0.8:80")
	mapped := netip.AddrFrom16(at.Addr().As16())
	want := func(state byte, waiting, backlog uint32) DiagSocket {
		return DiagSocket{Addr: at, Cookie: 7, State: state, UID: 1000, Inode: 99,
			Waiting: waiting, Backlog: backlog}
	}
	refusal := func(errno unix.Errno) []byte {
		b := make([]byte, 36)
		binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
		binary.NativeEndian.PutUint32(b[16:], uint32(-int32(errno)))
		return b
	}
	good := diagMessage(unix.AF_INET, at.Addr().AsSlice(), 80, tcpListen, 3, 128)
	for _, tc := range []struct {
		name string
		in   []byte
		want DiagSocket
		err  error
	}{
		{"IPv4", good, want(tcpListen, 3, 128), nil},
		{"mapped", diagMessage(unix.AF_INET6, mapped.AsSlice(), 80, 7, 0, 0),
			want(7, 0, 0), nil},
		{"no such socket", refusal(unix.ENOENT), DiagSocket{}, nil},
		{"not offered", refusal(unix.EOPNOTSUPP), DiagSocket{}, ErrNoSockDiag},
		{"out of memory", refusal(unix.ENOMEM), DiagSocket{}, unix.ENOMEM},
		{"other family", diagMessage(unix.AF_UNIX, nil, 0, 0, 0, 0), DiagSocket{},
			unix.EPROTO},
		{"cut short", good[:diagMsgSize-1], DiagSocket{}, unix.EPROTO},
		{"header only", good[:unix.NLMSG_HDRLEN], DiagSocket{}, unix.EPROTO},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, found, err := diagAnswer(tc.in)
			if got != tc.want || !errors.Is(err, tc.err) ||
				found != (tc.want != DiagSocket{}) {
				t.Errorf("got %+v, %t, %v; want %+v, %v", got, found, err, tc.want, tc.err)
			}
		})
	}
}

func BenchmarkSockDiag(b *testing.B) {
	d := testDiag(b)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	for b.Loop() {
		if _, found, err := d.Listener(at); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}
