package syscalls

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// directEnds returns the ends of a connection of the kernel's TCP, neither of which is at
// an address of a node's. The caller closes them.
func directEnds(t *testing.T) (near, far int) {
	t.Helper()
	var fds [2]int
	for i := range fds {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	listener, far := fds[0], fds[1]
	own, err := bindAny(listener, localhost4)
	if err := errors.Join(err, unix.Listen(listener, 1),
		connectTo(far, unix.AF_INET, own)); err != nil {
		t.Fatal(err)
	}
	near, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(listener)
	return near, far
}

// established is what AcceptDirect awaits of a far side that is connected.
func established() (bool, func(sent, received uint64), error) { return true, nil, nil }

// TestDirectAcceptNoRoom is TestAcceptNoRoom for a direct connection.
func TestDirectAcceptNoRoom(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	s.b.installing = func(*fakeCall) error { return unix.EMFILE }
	near, far := directEnds(t)
	defer unix.Close(far)
	over, err := s.b.node.AcceptDirect(t.Context(), s.parse("A:4000"), s.parse("B:7000"),
		func(int) (int, error) { return near, nil }, established)
	if !over || err != nil {
		t.Fatalf("AcceptDirect: %v, %v", over, err)
	}
	if _, err := unix.Write(far, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	s.lines = nil
	l.accept(0)
	if got := s.lines[0]; !strings.HasSuffix(got, "accept: EMFILE") {
		t.Error(got)
	}
	s.b.installing = nil
	l.readable()
	server := l.accept(0)
	if server == nil {
		t.Fatalf("the connection is lost: %v", s.lines)
	}
	if got := server.getname("getpeername", unix.SYS_GETPEERNAME); got != "A:4000" {
		t.Errorf("peer = %s", got)
	}
	if got := server.getname("getsockname", unix.SYS_GETSOCKNAME); got != "B:7000" {
		t.Errorf("own name = %s", got)
	}
	server.read()
	if got := s.lines[len(s.lines)-1]; !strings.HasSuffix(got, `read "hello"`) {
		t.Error(got)
	}
}

// TestDirectAcceptBudget has a socket opened only within the peer's share of descriptors,
// and counted while the far side says nothing.
func TestDirectAcceptBudget(t *testing.T) {
	n := boxedScript(t).b.node
	src, dst := netip.AddrPortFrom(addrA, 4000), netip.AddrPortFrom(addrB, 7000)
	used := func() int {
		n.budget.mu.Lock()
		defer n.budget.mu.Unlock()
		return n.budget.used
	}
	before, opened, meanwhile := used(), 0, 0
	accept := func() {
		t.Helper()
		over, err := n.AcceptDirect(t.Context(), src, dst,
			func(int) (int, error) {
				opened++
				return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			}, func() (bool, func(sent, received uint64), error) {
				meanwhile = used()
				return false, nil, nil
			})
		if over || err != nil {
			t.Errorf("AcceptDirect: %v, %v", over, err)
		}
		if got := used(); got != before {
			t.Errorf("%d descriptors in use, %d before", got, before)
		}
	}
	accept()
	if opened != 1 || meanwhile != before+1 {
		t.Errorf("%d opened, %d in use meanwhile, %d before", opened, meanwhile, before)
	}
	n.budget.mu.Lock()
	limit := n.budget.limit
	n.budget.limit = before
	n.budget.mu.Unlock()
	accept()
	if opened != 1 {
		t.Error("a socket was opened beyond the peer's share")
	}
	n.budget.mu.Lock()
	n.budget.limit = limit
	n.budget.mu.Unlock()
}

// TestDirectAcceptNodeEnds ends a node while a direct connection waits for room in a
// backlog.
func TestDirectAcceptNodeEnds(t *testing.T) {
	s := boxedScript(t)
	l := s.tcp(s.b)
	l.bind("0.0.0.0:7000")
	l.listen(0)
	s.tcp(s.a).connect("B:7000") // the backlog's only place
	near, far := directEnds(t)
	defer unix.Close(far)
	done := make(chan error, 1)
	go func() {
		_, err := s.b.node.AcceptDirect(context.Background(), s.parse("A:4000"),
			s.parse("B:7000"), func(int) (int, error) { return near, nil }, established)
		done <- err
	}()
	s.b.node.cancel()
	within(t, "the connection to end", func() {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("AcceptDirect: %v", err)
		}
	})
}

// An offer that accept(2) has taken is not offered to another listener, nor given up.
func TestDirectOfferTaken(t *testing.T) {
	var d directConns
	o := &directOffer{domain: unix.AF_INET}
	kernel := netip.MustParseAddrPort("127.0.0.1:7000")
	first := netip.MustParseAddrPort("127.0.0.2:1")
	second := netip.MustParseAddrPort("127.0.0.2:2")
	if !d.offer(o, first, kernel, Opening{}) || !d.offer(o, second, kernel, Opening{}) {
		t.Fatal("an offer that a listener has refused goes to no other one")
	}
	if d.take(first, unix.AF_INET) != nil {
		t.Error("the listener that has refused an offer can take it")
	}
	if d.take(second, unix.AF_INET) != o {
		t.Fatal("an offer cannot be taken")
	}
	if d.offer(o, first, kernel, Opening{}) || d.take(first, unix.AF_INET) != nil {
		t.Error("an offer was taken twice")
	}
	if d.withdraw(o) {
		t.Error("an offer that was taken was withdrawn")
	}
}
