package syscalls

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// udpAt makes a UDP socket that is bound to an address, or to none if that is not valid.
// The caller closes it.
func udpAt(t *testing.T, domain int, at netip.AddrPort) (fd int, local netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if at.IsValid() {
		if err := unix.Bind(fd, kernelSockaddr(domain, at)); err != nil {
			t.Fatal(err)
		}
	}
	name, _, err := localName(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, unmapped(name.Addr)
}

// TestSocketOwner asks for sockets in the states in which programs send to the
// supervisor.
func TestSocketOwner(t *testing.T) {
	peer, to := udpAt(t, unix.AF_INET, netip.MustParseAddrPort("127.0.0.1:0"))
	defer unix.Close(peer)
	anyFour, anySix := netip.MustParseAddrPort("0.0.0.0:0"),
		netip.MustParseAddrPort("[::]:0")
	for _, tc := range []struct {
		name    string
		domain  int
		at      netip.AddrPort
		connect bool
	}{
		{"bound to loopback", unix.AF_INET, netip.MustParseAddrPort("127.0.0.1:0"), false},
		{"bound to any address", unix.AF_INET, anyFour, false},
		{"connected", unix.AF_INET, netip.AddrPort{}, true},
		{"bound and connected", unix.AF_INET, netip.MustParseAddrPort("127.99.0.1:0"), true},
		{"IPv6, v4-mapped", unix.AF_INET6, netip.MustParseAddrPort("127.99.0.1:0"), false},
		{"IPv6, any address", unix.AF_INET6, anySix, false},
		{"IPv6, connected", unix.AF_INET6, netip.AddrPort{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fd, local := udpAt(t, tc.domain, tc.at)
			if tc.connect {
				if err := unix.Connect(fd, kernelSockaddr(tc.domain, to)); err != nil {
					t.Fatal(err)
				}
				name, _, err := localName(fd)
				if err != nil {
					t.Fatal(err)
				}
				local = unmapped(name.Addr)
			}
			if local.Addr().IsUnspecified() {
				local = netip.AddrPortFrom(localhost4, local.Port())
			}
			id, err := cookie(fd)
			if err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				t.Fatal(err)
			}
			want := owner{cookie: id, uid: uint32(os.Geteuid()), inode: uint32(st.Ino)}
			if got, err := socketOwner(unix.IPPROTO_UDP, local, to); err != nil ||
				got != want {
				t.Errorf("owner of %v: %+v, %v; want %+v", local, got, err, want)
			}
			unix.Close(fd)
			if got, err := socketOwner(unix.IPPROTO_UDP, local, to); !errors.Is(err,
				unix.ENOENT) {
				t.Errorf("owner after close: %+v, %v; want ENOENT", got, err)
			}
		})
	}
}

// TestSocketOwnerTCP asks for both ends of a connection.
func TestSocketOwnerTCP(t *testing.T) {
	l, at := listenAt(t, 1)
	defer unix.Close(l)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, kernelSockaddr(unix.AF_INET, at)); err != nil {
		t.Fatal(err)
	}
	name, _, err := localName(fd)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := cookie(fd)
	if got, err := socketOwner(unix.IPPROTO_TCP, name.Addr, at); err != nil ||
		got.cookie != id {
		t.Errorf("%+v, %v; want the cookie %d", got, err, id)
	}
}

func TestParseOwner(t *testing.T) {
	good := diag(unix.AF_INET, nil, 0, tcpClose, 0, 0)
	binary.NativeEndian.PutUint64(good[diagCookie:], 7)
	binary.NativeEndian.PutUint32(good[diagUID:], 1000)
	binary.NativeEndian.PutUint32(good[diagInode:], 99)
	refusal := func(errno unix.Errno) []byte {
		b := make([]byte, 36)
		binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
		binary.NativeEndian.PutUint32(b[16:], uint32(-int32(errno)))
		return b
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want owner
		err  error
	}{
		{"an owner", good, owner{7, 1000, 99}, nil},
		{"no such socket", refusal(unix.ENOENT), owner{}, unix.ENOENT},
		{"not offered", refusal(unix.EOPNOTSUPP), owner{}, errNoDiag},
		{"cut short", good[:diagMsgSize-1], owner{}, unix.EBADMSG},
		{"empty", nil, owner{}, unix.EBADMSG},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := parseOwner(tc.in); got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

// TestAdmittedForgets fills both generations: what is used stays.
func TestAdmittedForgets(t *testing.T) {
	var a admitted
	for id := range uint64(3 * maxAdmitted) {
		a.note(id+10, 2)
		if tid, ok := a.shownBy(1); !ok || tid != 77 {
			a.note(1, 77)
			if id > 0 {
				t.Fatalf("a socket that is in use is forgotten after %d others", id)
			}
		}
	}
	if _, ok := a.shownBy(10); ok {
		t.Error("a socket that is silent is never forgotten")
	}
	if n := len(a.young) + len(a.older); n > 2*maxAdmitted {
		t.Errorf("%d sockets are remembered", n)
	}
}
