package syscalls

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// The addresses of a world. Bare hosts get theirs from the lab, so that nothing that
// programs print has to be translated.
var (
	addrA       = netip.MustParseAddr("203.0.113.10")
	addrB       = netip.MustParseAddr("203.0.113.11")
	addrA6      = netip.MustParseAddr("2001:db8:5::cb00:710a")
	addrB6      = netip.MustParseAddr("2001:db8:5::cb00:710b")
	silent      = netip.MustParseAddr("203.0.113.200") // nobody answers
	unreachable = netip.MustParseAddr("203.0.113.201") // by a route of that type
	prefix      = netip.MustParsePrefix("203.0.113.0/24")
	prefix6     = netip.MustParsePrefix("2001:db8:5::/64")
)

// patience bounds what should happen at once, on a machine that is busy with other
// things.
const patience = 20 * time.Second

// A world is two hosts, on which the same program runs bare and under boxer.
type world struct {
	t     testing.TB
	boxed bool
	a, b  *machine
	net   *fakeNet // boxed

	threads atomic.Int64
}

// A machine is one host: its kernel is Linux, or a node of boxer's in front of it.
type machine struct {
	w    *world
	addr netip.Addr
	mem  *memory

	bare *natlab.Host // or
	node *Node

	// rows are those of the filter; nil: those of the table.
	rows map[uintptr][]Entry
	// installing is given to each fakeCall.
	installing func(*fakeCall) error
	// do calls f where the machine's system calls are to be made.
	do func(f func())
}

// bareHosts are the two hosts that all bare worlds share: to make them takes longer than
// most scripts do.
var bareHosts struct {
	sync.Once
	a, b *natlab.Host
}

// bareWorld has two hosts of a lab.
func bareWorld(t testing.TB) *world {
	t.Helper()
	bareHosts.Do(func() { bareHosts.a, bareHosts.b = makeBareHosts(t) })
	if bareHosts.b == nil {
		t.Skip("there is no lab: see the test before")
	}
	w := &world{t: t}
	host := func(h *natlab.Host) *machine {
		return &machine{w: w, addr: h.Addr(), mem: newMemory(t), bare: h,
			do: func(f func()) { f() }}
	}
	w.a, w.b = host(bareHosts.a), host(bareHosts.b)
	return w
}

func makeBareHosts(t testing.TB) (a, b *natlab.Host) {
	t.Helper()
	lab := natlab.ForTest(forEver{t}) // until the process's namespaces end
	host := func(name string, addr, addr6 netip.Addr) *natlab.Host {
		h, err := lab.Public(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		if h.Addr() != addr {
			t.Fatalf("%s is %v, not %v", name, h.Addr(), addr)
		}
		if six, err := h.AddIPv6(context.Background()); err != nil || six != addr6 {
			t.Fatalf("%s is %v, %v; not %v", name, six, err, addr6)
		}
		out, err := h.Command(context.Background(), "ip", "route", "add", "unreachable",
			unreachable.String()).CombinedOutput()
		if err != nil {
			t.Fatalf("ip route: %v: %s", err, out)
		}
		// Linux limits the rate of ICMP messages to each host (icmp(7)).
		err = h.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("0"), 0)
		})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	return host("a", addrA, addrA6), host("b", addrB, addrB6)
}

// forEver is a test that cleans nothing up.
type forEver struct{ testing.TB }

func (forEver) Cleanup(func()) {}

// boxedWorld has two nodes on a network in memory. When the test ends, nothing of them
// may be left.
func boxedWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, boxed: true, net: newFakeNet()}
	w.net.silent[silent] = make(chan struct{})
	before := takeStock(t)
	node := func(name string, addr, addr6 netip.Addr) *machine {
		aliases, err := ClaimAliases()
		if err != nil {
			t.Fatal(err)
		}
		n, err := NewNode(Config{Hostname: name, Addr: addr, Prefix: prefix, Addr6: addr6,
			Prefix6: prefix6, Aliases: aliases, Network: w.net,
			Abilities: Abilities{Names: &fakeNames{}},
			Logger:    slog.New(slog.NewTextHandler(testLog{t}, nil))})
		if err != nil {
			t.Fatal(err)
		}
		w.net.mu.Lock()
		w.net.nodes[addr], w.net.nodes[addr6] = n, n
		w.net.mu.Unlock()
		return &machine{w: w, addr: addr, mem: newMemory(t), node: n,
			do: func(f func()) { f() }}
	}
	w.a, w.b = node("a", addrA, addrA6), node("b", addrB, addrB6)
	t.Cleanup(func() {
		within(t, "the nodes to close", func() {
			for _, m := range []*machine{w.a, w.b} {
				if err := m.node.Close(); err != nil {
					t.Errorf("close node: %v", err)
				}
				m.node.Aliases.Release()
			}
			w.net.tasks.Wait() // as transport.Node.Close does
		})
		w.a.checkEmpty()
		w.b.checkEmpty()
		before.compare(t)
	})
	return w
}

// testLog writes a node's log to the test's. Its errors are failures.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "level=ERROR") {
		l.t.Errorf("log: %s", b)
	} else {
		l.t.Logf("log: %s", b)
	}
	return len(b), nil
}

// within fails the test if f takes longer than patience.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("waited %v for %s\n%s", patience, what, stacks())
		panic("the test cannot go on")
	}
}

// stacks says what all goroutines are doing.
func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

// eventually waits until f holds. It is for what nobody announces.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// entries counts what the tables of the node hold, besides the listeners' places.
func (n *Node) entries() string {
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	n.pendingConnects.mu.Lock()
	defer n.pendingConnects.mu.Unlock()
	n.waiting.mu.Lock()
	defer n.waiting.mu.Unlock()
	n.requeued.mu.Lock()
	defer n.requeued.mu.Unlock()
	running := 0
	for _, at := range n.pendingConnects.m {
		if !at.hasEnded() {
			running++ // failed ones stay until the program asks for the error
		}
	}
	return fmt.Sprintf("dialled %d, accepted %d, attempts %d, waiting %d, returned %d, relays %d", len(n.peers.dialled),
		len(n.peers.accepted), running, len(n.waiting.m), len(n.requeued.m), n.Relays())
}

const noEntries = "dialled 0, accepted 0, attempts 0, waiting 0, returned 0, relays 0"

func (m *machine) checkEmpty() {
	m.w.t.Helper()
	if got := m.node.entries(); got != noEntries {
		m.w.t.Errorf("node %v is closed and holds %s", m.addr, got)
	}
}

// A stock is what a process may leak.
type stock struct {
	goroutines int
	fds        map[string]int // by what they point to; sockets by their number alone
}

func takeStock(t testing.TB) stock {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller is there from now on
		r.Close()
		w.Close()
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	s := stock{goroutines: runtime.NumGoroutine(), fds: map[string]int{}}
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			continue // the one that read the directory
		}
		if kind, _, ok := strings.Cut(to, ":["); ok {
			to = kind
		}
		s.fds[to]++
	}
	return s
}

// compare fails the test if there is more now.
func (s stock) compare(t testing.TB) {
	t.Helper()
	var now stock
	less := func() bool {
		now = takeStock(t)
		if now.goroutines > s.goroutines {
			return false
		}
		for to, n := range now.fds {
			if n > s.fds[to] {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(5 * time.Second); !less(); {
		if time.Now().After(deadline) {
			t.Errorf("leaked: %d goroutines and descriptors %v before, %d and %v after\n%s", s.goroutines, s.fds,
				now.goroutines, now.fds, stacks())
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// thread returns a new thread's number.
func (w *world) thread() int { return int(w.threads.Add(1)) }

// tableRows are the rows of the table, by number.
var tableRows = byNumber(table)

func byNumber(rows []Entry) map[uintptr][]Entry {
	m := make(map[uintptr][]Entry)
	for _, e := range rows {
		m[e.Nr] = append(m[e.Nr], e)
	}
	return m
}

// rowOf returns the row that traps a call with these arguments.
func (m *machine) rowOf(nr uintptr, args []uintptr) (Entry, bool) {
	rows := m.rows
	if rows == nil {
		rows = tableRows
	}
	for _, e := range rows[nr] {
		if e.traps(args) {
			return e, true
		}
	}
	return Entry{}, false
}

// traps says whether the filter would trap a call with these arguments.
func (e Entry) traps(args []uintptr) bool {
	for _, c := range e.When {
		if !c.Holds(uint64(args[c.Arg])) {
			return false
		}
	}
	return true
}

// A running call can be waited for, and interrupted.
type running struct {
	c    *fakeCall // nil if Linux does the call
	done chan struct{}
	r    uintptr
	e    unix.Errno
}

// call makes a system call on a thread of the machine and waits for its end.
func (m *machine) call(tid int, nr uintptr, args ...uintptr) (uintptr, unix.Errno) {
	return m.start(tid, nr, args...).wait(m.w.t)
}

func (r *running) wait(t testing.TB) (uintptr, unix.Errno) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatalf("a call did not return in %v\n%s", patience, stacks())
	}
	return r.r, r.e
}

// start makes a system call. When start has returned, boxer has received it.
func (m *machine) start(tid int, nr uintptr, args ...uintptr) *running {
	r := &running{done: make(chan struct{})}
	args = append(args, make([]uintptr, 6-len(args))...)
	kernel := func() {
		v, _, errno := unix.Syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5])
		if errno != 0 {
			v = ^uintptr(0)
		}
		r.r, r.e = v, errno
	}
	row, ok := m.rowOf(nr, args)
	switch {
	case m.node == nil || !ok:
		go func() {
			defer close(r.done)
			unpreempted(kernel)
		}()
		return r
	case row.Fail != 0:
		r.r, r.e = ^uintptr(0), row.Fail
		close(r.done)
		return r
	}
	r.c = newFakeCall(m.w.t, tid, nr, args...)
	r.c.installing = m.installing
	if names, ok := m.node.Names.(*fakeNames); ok &&
		(nr == unix.SYS_GETSOCKNAME || nr == unix.SYS_GETPEERNAME) && names.answer(r.c) {
		close(r.done) // it returns 0
		return r
	}
	m.do(func() { m.node.Answer(r.c) })
	go func() {
		defer close(r.done)
		switch a := <-r.c.answer; {
		case a.resume:
			kernel()
		case a.errno != 0:
			r.r, r.e = ^uintptr(0), a.errno
		default:
			r.r = a.value
		}
	}()
	return r
}

// unpreempted calls f on a thread that the runtime does not preempt. Its signal, meant
// for the goroutine, may come when the system call has begun, and ends it with EINTR if
// the socket has a timeout, SA_RESTART or not (signal(7)).
func unpreempted(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var urg, old unix.Sigset_t
	urg.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urg, &old); err != nil {
		panic(err) // cannot be with these arguments
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	f()
}

// socket makes a socket on the machine.
func (m *machine) socket(domain, typ, proto int) (fd int, err error) {
	if m.bare != nil {
		err = m.bare.Do(func() (err error) {
			fd, err = unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
			return err
		})
		return fd, err
	}
	return unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
}
