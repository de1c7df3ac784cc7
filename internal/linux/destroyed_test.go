package linux

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// everything is a filter that passes all messages.
var everything = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}}

// watch returns a watcher that ends with an error when the test hangs.
func watch(t *testing.T, filter []unix.SockFilter, groups ...int) *DestroyWatcher {
	t.Helper()
	w, err := WatchDestroyed(filter, groups...)
	if err != nil {
		t.Skip(err)
	}
	stop := time.AfterFunc(20*time.Second, func() { w.Close() })
	t.Cleanup(func() { stop.Stop(); w.Close() })
	return w
}

// TestDestroyed holds that the end of a socket is told when its last reference goes.
func TestDestroyed(t *testing.T) {
	w := watch(t, everything, TCPDestroyed, TCP6Destroyed)
	fd, at := listenAt(t)
	want := cookieOf(t, fd)
	copied, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	other := socketAt(t, unix.AF_INET6, unix.SOCK_STREAM, netip.MustParseAddrPort("127.99.0.1:0"))
	between := cookieOf(t, other)
	unix.Close(other)
	unix.Close(copied)
	seen := false
	for {
		s, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if s.Cookie == between {
			seen = true
		}
		if s.Cookie != want {
			continue // others of the host may be among them
		}
		if !seen || s.Addr != at {
			t.Errorf("the listener, at %v, is told as %+v; the IPv6 socket before it: %t", at,
				s, seen)
		}
		break
	}
	w.Close()
	if _, err := w.Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestDestroyedMissed destroys more sockets than the kernel's queue has room for. That is
// told, and the watcher works on.
func TestDestroyedMissed(t *testing.T) {
	w := watch(t, everything, UDPDestroyed)
	raw, err := w.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		err = SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
		for err == nil {
			unix.Close(socketAt(t, unix.AF_INET, unix.SOCK_DGRAM, loopback))
			var full int16
			if full, err = Poll(int(fd), unix.POLLIN); full&unix.POLLERR != 0 {
				break
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err = w.Next(); err != nil {
			break
		}
	}
	if err != ErrMissed {
		t.Fatalf("a full queue: %v, want ErrMissed", err)
	}
	fd := socketAt(t, unix.AF_INET, unix.SOCK_DGRAM, loopback)
	want := cookieOf(t, fd)
	unix.Close(fd)
	for {
		switch s, err := w.Next(); {
		case err == ErrMissed: // the kernel was still busy with those before
			return
		case err != nil:
			t.Fatal(err)
		case s.Cookie == want:
			return
		}
	}
}

// TestDestroyedBytes holds that the end of a connection is told with the bytes that its
// program has sent and received.
func TestDestroyedBytes(t *testing.T) {
	w := watch(t, everything, TCPDestroyed)
	l, at := listenAt(t)
	defer unix.Close(l)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()),
		Addr: at.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	server, _, err := unix.Accept(l)
	if err != nil {
		t.Fatal(err)
	}
	want := cookieOf(t, fd)
	var b [8]byte
	for _, step := range []func() (int, error){
		func() (int, error) { return unix.Write(fd, make([]byte, 7)) },
		func() (int, error) { return unix.Read(server, b[:]) },
		func() (int, error) { return unix.Write(server, make([]byte, 3)) },
		func() (int, error) { return unix.Read(fd, b[:]) },
	} {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(server)
	unix.Close(fd)
	for {
		s, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if s.Cookie != want {
			continue
		}
		if s.Sent != 7 || s.Received != 3+1 { // and the FIN
			t.Errorf("sent %d and received %d bytes; want 7 and 4", s.Sent, s.Received)
		}
		return
	}
}
