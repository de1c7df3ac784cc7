package syscalls

import (
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// testDiag returns a SockDiag, or skips the test where the kernel has none.
func testDiag(t *testing.T) *linux.SockDiag {
	t.Helper()
	d, err := linux.OpenSockDiag()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(d.Close)
	return d
}

// listenAt makes a listener of the test's own on loopback.
func listenAt(t *testing.T, backlog int) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if at, err = bindAny(fd, localhost4); err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	return fd, at
}

func TestBacklogRoom(t *testing.T) {
	l := listeners{core: &core{diag: testDiag(t)}}
	fd, at := listenAt(t, 4)
	for want := 5; want >= 0; want-- {
		if got := l.backlogRoom(at); got != want {
			t.Errorf("room for %d, want %d", got, want)
		}
		if want == 0 {
			break
		}
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		if err := unix.Connect(c, kernelSockaddr(unix.AF_INET, at)); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(fd)
	if got := l.backlogRoom(at); got != 0 {
		t.Errorf("room for %d where nobody listens", got)
	}
}
