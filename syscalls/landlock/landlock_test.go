package landlock

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpRuleset makes a landlock(7) ruleset that handles rights and allows those of rules.
func tcpRuleset(t *testing.T, handled Right, rules map[uint64]Right) int {
	t.Helper()
	attr := [2]uint64{0, uint64(handled)}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		t.Skip("no Landlock for TCP: ", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	const netPort = 2 // LANDLOCK_RULE_NET_PORT
	for port, right := range rules {
		rule := [2]uint64{uint64(right), port}
		_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, fd, netPort,
			uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	return int(fd)
}

func TestPortsDenied(t *testing.T) {
	rules := map[uint64]Right{0: BindTCP, 80: TCP,
		8001: ConnectTCP, 65535: BindTCP}
	var named Ports
	for port := range rules {
		named.Add(uint16(port))
	}
	named.Add(81) // of another ruleset
	ruleset := tcpRuleset(t, TCP, rules)
	d, err := Probe(ruleset, 0, TCP, &named)
	if err != nil || d == nil {
		t.Fatal(d != nil, err)
	}
	for port := range 1 << 16 {
		allowed := rules[uint64(port)]
		for _, right := range []Right{BindTCP, ConnectTCP} {
			if got := d.Denies(right, uint16(port)); got == (allowed&right != 0) {
				t.Errorf("port %d, right %d: denied %t", port, right, got)
			}
		}
	}
	// The supervisor itself is free.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Errorf("bind in the supervisor: %v", err)
	}
	none := tcpRuleset(t, BindTCP, nil)
	if d, err := Probe(none, 0, ConnectTCP, &named); err != nil || d != nil {
		t.Errorf("a ruleset about other rights denies something: %t, %v", d != nil, err)
	}
	if _, err := Probe(ruleset, 1<<20, TCP, &named); err == nil {
		t.Error("odd flags pass")
	}
	if _, err := Probe(0, 0, TCP, &named); err == nil {
		t.Error("standard input passes for a ruleset")
	}
}

func BenchmarkPortsDenied(b *testing.B) {
	attr := [2]uint64{0, uint64(TCP)}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		b.Skip(errno)
	}
	defer unix.Close(int(fd))
	for b.Loop() {
		if _, err := Probe(int(fd), 0, TCP, &Ports{}); err != nil {
			b.Fatal(err)
		}
	}
}

// fakeTasks are threads by number. It implements tasks.
type fakeTasks struct {
	leaders map[int]int // of each thread, the first of its process
	marks   map[int]uint64
	execs   map[int]uint64
	refuses error // of setMark
}

func newFakeTasks() *fakeTasks {
	return &fakeTasks{leaders: map[int]int{}, marks: map[int]uint64{},
		execs: map[int]uint64{}}
}

func (f *fakeTasks) mark(tid int) (uint64, error)    { return f.marks[f.leaders[tid]], nil }
func (f *fakeTasks) identify(tid int) (task, error)  { return task{tid, 1}, nil }
func (f *fakeTasks) program(tid int) (uint64, error) { return f.execs[f.leaders[tid]], nil }
func (f *fakeTasks) mayRestrict(int) bool            { return true }
func (f *fakeTasks) setMark(tid int, m uint64) error {
	if f.refuses == nil {
		f.marks[f.leaders[tid]] = m
	}
	return f.refuses
}

func (f *fakeTasks) process(tid int) (leader task, threads []task, err error) {
	for t, l := range f.leaders {
		if l == f.leaders[tid] {
			threads = append(threads, task{t, 1})
		}
	}
	return task{f.leaders[tid], 1}, threads, nil
}

// thread adds a thread to a process.
func (f *fakeTasks) thread(leader, tid int) { f.leaders[tid] = leader }

// fork makes a process whose parent is of the process leader.
func (f *fakeTasks) fork(leader, child int) {
	f.leaders[child] = child
	f.marks[child] = f.marks[leader]
}

// exec has one of a process's threads run another program.
func (f *fakeTasks) exec(leader int) {
	for t, l := range f.leaders {
		if l == leader && t != leader {
			delete(f.leaders, t)
		}
	}
	f.execs[leader]++
}

func denying(ports ...uint16) *Domain {
	d := &Domain{}
	for _, p := range ports {
		d.connect.Add(p)
	}
	return d
}

// denied lists which of the ports 1 to 3 a thread is denied.
func denied(t *testing.T, l *Domains, tid int) (ports string) {
	t.Helper()
	d, err := l.Of(tid)
	if err != nil {
		t.Fatal(err)
	}
	for p := uint16(1); p <= 3; p++ {
		if d != nil && d.Denies(ConnectTCP, p) {
			ports += string('0' + rune(p))
		}
	}
	return ports
}

func TestLandlocked(t *testing.T) {
	f := newFakeTasks()
	l := &Domains{tasks: f}
	restrict := func(tid int, all bool, ports ...uint16) {
		t.Helper()
		if err := l.Restrict(tid, denying(ports...), all); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, tid int, want string) {
		t.Helper()
		if got := denied(t, l, tid); got != want {
			t.Errorf("%s is denied %q, want %q", what, got, want)
		}
	}
	f.fork(0, 10)
	f.fork(0, 20)
	restrict(10, false, 1)
	expect("who has restricted itself", 10, "1")
	expect("another process", 20, "")
	f.fork(10, 11)
	f.thread(10, 12)
	expect("a child", 11, "1")
	expect("a thread that was made afterwards", 12, "1")
	restrict(11, false, 2)
	expect("a child with a second layer", 11, "12")
	expect("its parent", 10, "1")
	f.exec(11)
	expect("the child's next program", 11, "12")

	f.thread(20, 21) // 20 and 21, of which 21 restricts itself
	restrict(21, false, 3)
	expect("the thread", 21, "3")
	expect("the one beside it", 20, "")
	f.thread(20, 22)
	f.fork(20, 23)
	expect("a thread of the mixed process", 22, "3")
	expect("a child of the mixed process", 23, "3")
	restrict(20, false, 1)
	expect("the other, when it does so as well", 20, "1")
	expect("the first", 21, "3")
	f.exec(20)
	expect("the next program, of whichever thread", 20, "13")

	f.fork(0, 30)
	f.thread(30, 31)
	restrict(31, true, 2) // LANDLOCK_RESTRICT_SELF_TSYNC
	expect("one of all threads", 30, "2")
	if len(l.marks) != 4 { // 1; 1 and 2; mixed; 2
		t.Errorf("%d marks", len(l.marks))
	}
	f.fork(0, 40)
	restrict(40, false, 1)
	if len(l.marks) != 4 {
		t.Error("the same restrictions have another mark")
	}
	f.refuses = unix.EPERM
	f.fork(0, 50)
	if err := l.Restrict(50, denying(1), false); err == nil {
		t.Error("no error where a process cannot be marked")
	}
}

// TestProcTasks holds what the kernel is asked about threads.
func TestProcTasks(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var p procTasks
	tid := unix.Gettid()
	self, err := p.identify(tid)
	if err != nil || self.tid != tid || self.started == 0 {
		t.Errorf("identify: %v, %v", self, err)
	}
	leader, threads, err := p.process(tid)
	if err != nil || leader.tid != unix.Getpid() {
		t.Errorf("process: %v, %v", leader, err)
	}
	var found bool
	for _, each := range threads {
		found = found || each == self
	}
	if !found {
		t.Errorf("%v is none of its process's %v", self, threads)
	}
	if mark, err := p.mark(tid); err != nil || mark != 0 {
		t.Errorf("mark: %d, %v", mark, err)
	}
	if v, err := readLimit(tid); err != nil || v != noLimit {
		t.Errorf("limit: %d, %v", v, err)
	}
	if program, err := p.program(tid); err != nil || program == 0 {
		t.Errorf("program: %d, %v", program, err)
	}
}

// TestNotKnown holds that what cannot be found out, for want of descriptors, does not
// pass for what the kernel refuses.
func TestNotKnown(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	none := unix.Rlimit{Cur: 0, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	if _, err := Probe(0, 0, TCP, &Ports{}); !errors.Is(err,
		ErrNotProbed) {
		t.Errorf("no socket to try with: %v", err)
	}
	if !(procTasks{}).mayRestrict(unix.Getpid()) {
		t.Error("no look at the thread, which passes for one that the kernel refuses")
	}
}
