package syscalls

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

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
				if err := n.admit(fd, 77); err != nil {
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
