package syscalls

import (
	"net/netip"
	"os"
	"runtime"
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

// asUser runs f with the file system user that a socket takes its owner from
// (setfsuid(2), which is the thread's alone).
func asUser(t *testing.T, uid int, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root acts as another user")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(uid); err != nil {
		t.Fatal(err)
	}
	defer unix.Setfsuid(os.Geteuid())
	f()
}

// TestAdmits has another user of the host send to the supervisor's socket: before a
// trapped call has shown the socket, it is a stranger's.
func TestAdmits(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	own, to := udpAt(t, unix.AF_INET, netip.AddrPortFrom(n.Aliases.Relay, 0))
	defer unix.Close(own)
	const stranger = 65534
	for _, tc := range []struct {
		name  string
		uid   int
		shown bool
		want  bool
	}{
		{"the user who runs boxer", os.Geteuid(), false, true},
		{"another user", stranger, false, false},
		{"a program of another user", stranger, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var fd int
			var source netip.AddrPort
			open := func() {
				fd, source = udpAt(t, unix.AF_INET,
					netip.MustParseAddrPort("127.0.0.1:0"))
			}
			if tc.uid == os.Geteuid() {
				open()
			} else {
				asUser(t, tc.uid, open)
			}
			defer unix.Close(fd)
			if tc.shown {
				if err := n.udp.admit(&progSocket{fd: fd}, 77); err != nil {
					t.Fatal(err)
				}
			}
			if _, got := n.Admits("udp", source, to); got != tc.want {
				t.Errorf("admitted: %v, want %v", got, tc.want)
			}
		})
	}
	if _, ok := n.Admits("udp", netip.AddrPortFrom(localhost4, 1), to); ok {
		t.Error("a source that no socket has is admitted")
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

// TestAdmitsWithoutDescriptors holds that a program's datagrams are not taken for a
// stranger's while the supervisor is at its limit of descriptors.
func TestAdmitsWithoutDescriptors(t *testing.T) {
	s := boxedScript(t)
	n := s.a.node
	if !n.diag.HasUDP() {
		t.Skip("the kernel does not tell whose a socket is")
	}
	own, to := udpAt(t, unix.AF_INET, netip.AddrPortFrom(n.Aliases.Relay, 0))
	defer unix.Close(own)
	fd, source := udpAt(t, unix.AF_INET, netip.MustParseAddrPort("127.0.0.1:0"))
	defer unix.Close(fd)
	if err := n.udp.admit(&progSocket{fd: fd}, 77); err != nil {
		t.Fatal(err)
	}
	outOfDescriptors(t, func() {
		if tid, ok := n.Admits("udp", source, to); tid != 77 || !ok {
			t.Errorf("admitted: %v, of thread %d; want true, of 77", ok, tid)
		}
	})
}
