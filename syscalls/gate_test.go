package syscalls

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// TestGateRefuse holds the gate's refusal against one by the kernel.
func TestGateRefuse(t *testing.T) {
	g, err := newGate(netip.MustParseAddr("127.0.0.1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	refused, _ := connecting(t, g.closed)
	held, program := connecting(t, g.addr)
	if state, err := tcpState(held); err != nil || state != tcpSynSent {
		t.Fatalf("at the gate: state %d, %v", state, err)
	}
	if err := g.refuse(g.addr, program); err != nil {
		t.Fatal(err)
	}
	const all = unix.POLLIN | unix.POLLOUT | unix.POLLPRI | unix.POLLRDHUP
	want, _ := linux.Poll(refused, all)
	if got, err := linux.Poll(held, all); err != nil || got != want {
		t.Errorf("poll: %#x, %v, want %#x", got, err, want)
	}
	for _, fd := range []int{refused, held} {
		clearError(fd)
		if err := unix.Connect(fd, kernelSockaddr(unix.AF_INET, g.addr)); !errors.Is(err, unix.ECONNABORTED) {
			t.Errorf("connect: %v, want ECONNABORTED once", err)
		}
		if err := unix.Connect(fd, kernelSockaddr(unix.AF_INET, g.addr)); !errors.Is(err, unix.EINPROGRESS) {
			t.Errorf("connect: %v, want EINPROGRESS", err)
		}
	}
	if err := g.refuse(g.addr, netip.AddrPortFrom(program.Addr(), 1)); err != nil {
		t.Errorf("refuse where nobody is: %v", err)
	}
}

// connecting returns a socket that has begun to connect.
func connecting(t *testing.T, to netip.AddrPort) (int, netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	own, err := bindAny(fd, to.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, kernelSockaddr(unix.AF_INET, to)); !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v", err)
	}
	return fd, own
}

func BenchmarkGateRefuse(b *testing.B) {
	g, err := newGate(netip.MustParseAddr("127.0.0.1"), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer g.close()
	for b.Loop() {
		fd, _ := unix.Socket(unix.AF_INET,
			unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		own, err := bindAny(fd, g.addr.Addr())
		if err != nil {
			b.Fatal(err)
		}
		unix.Connect(fd, kernelSockaddr(unix.AF_INET, g.addr))
		if err := g.refuse(g.addr, own); err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}
