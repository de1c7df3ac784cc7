package syscalls

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errGone is what a fakeCall's methods fail with once it was interrupted, as
// sandbox.ErrGone.
var errGone = errors.New("the fake call has ended")

// A fakeCall is a trapped call of a program that is this test process itself: its
// descriptors and its memory are ours. It implements Call.
type fakeCall struct {
	t    testing.TB
	tid  int
	nr   uintptr
	args [6]uintptr

	// installing, if not nil, is called before a descriptor is installed; its error is
	// InstallFD's.
	installing func(*fakeCall) error

	mu       sync.Mutex
	gone     bool        // interrupted: nobody waits
	answered bool        // once is enough
	answer   chan answer // gets the answer, or the interruption
}

type answer struct {
	value       uintptr
	errno       unix.Errno
	resume      bool // the kernel does the call
	interrupted bool
}

func newFakeCall(t testing.TB, tid int, nr uintptr, args ...uintptr) *fakeCall {
	c := &fakeCall{t: t, tid: tid, nr: nr, answer: make(chan answer, 1)}
	copy(c.args[:], args)
	return c
}

// interrupt ends the call as a signal does: the thread is told, boxer is not.
func (c *fakeCall) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interruptLocked()
}

func (c *fakeCall) interruptLocked() {
	if !c.gone && !c.answered {
		c.gone = true
		c.answer <- answer{errno: unix.EINTR, interrupted: true}
	}
}

// finish gives the answer.
func (c *fakeCall) finish(a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return errGone
	}
	if c.answered {
		c.t.Errorf("call %d is answered twice, then with %+v", c.nr, a)
		return errGone
	}
	c.answered = true
	c.answer <- a
	return nil
}

func (c *fakeCall) TID() int               { return c.tid }
func (c *fakeCall) Compat() bool           { return false }
func (c *fakeCall) Nr() uintptr            { return c.nr }
func (c *fakeCall) Int(i int) int          { return int(int32(c.args[i])) }
func (c *fakeCall) Uint(i int) uint64      { return uint64(c.args[i]) }
func (c *fakeCall) Ptr(i int) uintptr      { return c.args[i] }
func (c *fakeCall) Keep() Call             { return c }
func (c *fakeCall) Return(v uintptr) error { return c.finish(answer{value: v}) }
func (c *fakeCall) Continue() error        { return c.finish(answer{resume: true}) }

func (c *fakeCall) Fail(errno unix.Errno) error {
	if errno == 0 {
		c.t.Errorf("call %d fails with errno 0", c.nr)
	}
	return c.finish(answer{errno: errno})
}

func (c *fakeCall) Pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.gone && !c.answered
}

func (c *fakeCall) CopyFD(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

func (c *fakeCall) InstallFD(fd int, cloexec bool) (int, error) {
	if c.installing != nil {
		if err := c.installing(c); err != nil {
			return -1, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.answered {
		return -1, errGone
	}
	how := unix.F_DUPFD
	if cloexec {
		how = unix.F_DUPFD_CLOEXEC
	}
	installed, err := unix.FcntlInt(uintptr(fd), how, 0)
	if err != nil {
		return -1, err
	}
	c.answered = true
	c.answer <- answer{value: uintptr(installed)}
	return installed, nil
}

func (c *fakeCall) ReadMemory(addr uintptr, b []byte) error {
	return c.memory(unix.SYS_PROCESS_VM_READV, addr, b)
}

func (c *fakeCall) WriteMemory(addr uintptr, b []byte) error {
	return c.memory(unix.SYS_PROCESS_VM_WRITEV, addr, b)
}

func (c *fakeCall) WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr,
	b2 []byte) error {
	if err := c.WriteMemory(addr1, b1); err != nil {
		return err
	}
	return c.WriteMemory(addr2, b2)
}

// memory copies between b and this process's memory at addr by process_vm_readv(2) or
// process_vm_writev(2), which fail with EFAULT where there is none.
func (c *fakeCall) memory(nr, addr uintptr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if gone {
		return errGone
	}
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	remote := unix.RemoteIovec{Base: addr, Len: len(b)}
	n, _, errno := unix.Syscall6(nr, uintptr(os.Getpid()),
		uintptr(unsafe.Pointer(&local)), 1,
		uintptr(unsafe.Pointer(&remote)), 1, 0)
	runtime.KeepAlive(b)
	if errno != 0 {
		return errno
	}
	if int(n) != len(b) {
		return unix.EFAULT
	}
	return nil
}

// A memory is where a program's arguments lie: outside of Go's heap, at addresses that
// stay. The oldest of them are overwritten in the end; by then their calls have returned.
type memory struct {
	mu   sync.Mutex
	b    []byte
	next int
}

func newMemory(t testing.TB) *memory {
	b, err := unix.Mmap(-1, 0, 4<<20, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return &memory{b: b}
}

// take returns n bytes with the given beginning, and their address.
func (m *memory) take(n int, init []byte) ([]byte, uintptr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n = max(n, len(init), 1)
	if n > len(m.b) {
		panic(fmt.Sprintf("%d bytes do not fit", n))
	}
	if m.next+n > len(m.b) {
		m.next = 0
	}
	b := m.b[m.next : m.next+n : m.next+n]
	m.next += (n + 15) &^ 15
	clear(b)
	copy(b, init)
	return b, uintptr(unsafe.Pointer(&b[0]))
}
