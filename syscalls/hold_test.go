package syscalls

import (
	"runtime/pprof"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// waitingFor returns how many calls wait for the machine's socket.
func waitingFor(t *testing.T, k *sock) int {
	t.Helper()
	id, err := cookie(k.fd)
	if err != nil {
		t.Fatal(err)
	}
	r := k.m.node.readiness
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.held[id]; h != nil {
		return len(h.queue)
	}
	return 0
}

// TestManyWaitInAccept has many threads wait in accept(2) on one listener, as a
// preforking server does. They cost neither threads nor descriptors, and are served in
// the order in which they came, without those that a signal has taken out.
func TestManyWaitInAccept(t *testing.T) {
	const waiters, clients = 300, 20
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	before := takeStock(t)
	threads := pprof.Lookup("threadcreate").Count()
	var calls [waiters]*running
	for i := range calls {
		_, p := s.b.mem.take(abi.SizeofSockaddrStorage, nil)
		_, sp := s.b.mem.take(4, []byte{abi.SizeofSockaddrStorage, 0, 0, 0})
		calls[i] = s.b.start(s.thread(), unix.SYS_ACCEPT4, l.fdArg(), p, sp, 0)
		eventually(t, "it waits", func() bool { return waitingFor(t, l) == i+1 })
	}
	if now := takeStock(t); total(now) > total(before)+4 {
		t.Errorf("%d descriptors with %d waiting calls, %d without", total(now), waiters,
			total(before))
	}
	if now := pprof.Lookup("threadcreate").Count(); now > threads+waiters/10 {
		t.Errorf("%d threads with %d waiting calls, %d without", now, waiters, threads)
	}
	calls[0].c.interrupt() // the one that waits for the socket
	calls[2].c.interrupt()
	s.b.node.waiting.arrived(calls[0].c.tid) // as its thread's next call does
	for i := range clients {
		k := s.tcp(s.a)
		k.connect("B:7000")
		want := i + 1
		if want >= 2 {
			want++
		}
		fd, errno := calls[want].wait(t)
		if errno != 0 {
			t.Fatalf("waiter %d: %s", want, failed(errno))
		}
		talk(k, s.adopt(s.b, int(fd), unix.AF_INET))
	}
	for _, r := range calls {
		r.c.interrupt()
	}
	eventually(t, "all have left", func() bool { return waitingFor(t, l) == 0 })
}

func total(s stock) (n int) {
	for _, each := range s.fds {
		n += each
	}
	return n
}

// TestWaitEnds holds what ends a wait for a socket, besides the socket.
func TestWaitEnds(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	l.setTimeout(unix.SO_RCVTIMEO, 30)
	// is first in turn
	other := s.b.start(s.thread(), unix.SYS_ACCEPT4, l.fdArg(), 8, 8, 0)
	for i := range 2 {
		l.accept(0)
		if got := s.lines[len(s.lines)-1]; got != l.name+" accept: EAGAIN" {
			t.Errorf("accept %d with a timeout: %s", i, got)
		}
	}
	if _, errno := other.wait(t); errno != unix.EAGAIN {
		t.Errorf("the first accept with a timeout: %s", failed(errno))
	}
}
