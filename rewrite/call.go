package rewrite

import (
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// ErrGone means that a call is no longer pending: a signal interrupted it, or its thread
// died. No thread waits for the answer.
var ErrGone = errors.New("the call has ended")

// A Call is one system call of a program. One of Return, Fail, Continue and InstallFD
// answers it.
type Call struct {
	s    *Server
	slot *slot
	word uint32 // the slot's word while the call waits
	tid  int
	nr   uint64
	args [6]uint64

	epoch uint32 // of the slot

	// foreign means that the caller is in another PID namespace (pid_namespaces(7)). In
	// the supervisor's namespace its TID belongs to another thread, which the supervisor
	// must not touch.
	foreign bool
}

// take reads the call of a slot. It returns false if the slot has no call.
func (c *Call) take(s *Server, i int) bool {
	p := &s.shared.slots[i]
	w := atomic.LoadUint32(&p.word)
	if w&stateMask != statePending {
		return false
	}
	*c = Call{s: s, slot: p, word: w, tid: int(atomic.LoadUint32(&p.tid)), nr: p.nr,
		args: p.args, epoch: p.epoch()}
	if s.seen[i] != (seen{c.tid, p.self}) {
		c.foreign = !sharesSlot(c.tid, p.self)
		if !c.foreign {
			s.seen[i] = seen{c.tid, p.self}
		}
	}
	// or a signal handler of the thread writes another
	return atomic.LoadUint32(&p.word) == w
}

// A seen is a thread with the address of its slot.
type seen struct {
	tid  int
	self uint64
}

// sharesSlot reports whether the process of a thread has that thread's slot at an
// address. It returns true if the supervisor may not read the process's memory: that
// process does all memory accesses itself.
func sharesSlot(tid int, self uint64) bool {
	var head [8]byte // word and tid
	err := readMemory(tid, uintptr(self), head[:])
	if refusedHere(err) {
		return true
	}
	return err == nil && binary.NativeEndian.Uint32(head[4:]) == uint32(tid)
}

func (c *Call) copy() *Call {
	k := *c
	return &k
}

// Keep returns a copy that stays valid after the function that Serve called has returned.
func (c *Call) Keep() *Call { return c.copy() }

// TID returns the ID of the calling thread.
func (c *Call) TID() int { return c.tid }

// Compat returns false: the loader does not follow programs of the 32-bit ABI.
func (c *Call) Compat() bool { return false }

// Nr returns the number of the system call.
func (c *Call) Nr() uintptr { return uintptr(c.nr) }

// Int returns argument i as a C int. The upper half of the register is undefined.
func (c *Call) Int(i int) int { return int(int32(c.args[i])) }

// Uint returns argument i as an unsigned long or size_t.
func (c *Call) Uint(i int) uint64 { return c.args[i] }

// Ptr returns argument i as an address in the caller's memory.
func (c *Call) Ptr(i int) uintptr { return uintptr(c.args[i]) }

// Pending reports whether the call still waits for an answer.
func (c *Call) Pending() bool {
	return atomic.LoadUint32(&c.slot.word) == c.word && c.alive()
}

// alive reports whether the caller's thread exists. For a thread in another PID namespace
// this is not known, and alive returns true.
func (c *Call) alive() bool { return c.foreign || alive(c.tid) }

// epoch returns how many programs the slot's thread has executed.
func (p *slot) epoch() uint32 { return atomic.LoadUint32(&p.execs) }

// executed records that a process has executed another program. If another thread of the
// process did so, a call of the first thread may have been waiting. No thread waits for
// that call's answer any more.
func (s *Server) executed(pid int) {
	for i := range s.shared.slots {
		p := &s.shared.slots[(hash(uint32(pid))+uint32(i))%slots]
		switch atomic.LoadUint32(&p.tid) {
		case uint32(pid):
			atomic.AddUint32(&p.execs, 1)
			w := atomic.LoadUint32(&p.word)
			if w&stateMask != stateIdle {
				atomic.CompareAndSwapUint32(&p.word, w, w&^stateMask)
			}
			return
		case 0:
			return
		}
	}
}

// hash returns the index at which the search for a thread's slot begins, as slot_of in
// inside/hook.c does.
func hash(tid uint32) uint32 { return tid * 2654435761 >> 20 % starts }

// alive reports whether a thread exists. tkill(2) fails with EPERM if the thread exists
// and belongs to another user.
func alive(tid int) bool {
	return !errors.Is(linux.Tkill(tid, 0), unix.ESRCH)
}

func (c *Call) state(state uint32) uint32 { return c.word&^stateMask | state }

// claim makes sure that no other goroutine answers the call, and that the program does
// not abandon it meanwhile.
func (c *Call) claim() error {
	if !atomic.CompareAndSwapUint32(&c.slot.word, c.word, c.state(stateAnswering)) {
		return ErrGone
	}
	return nil
}

func (c *Call) settle(state uint32) {
	atomic.StoreUint32(&c.slot.word, c.state(state))
	linux.FutexWake(&c.slot.word)
}

// Return lets the call return v.
func (c *Call) Return(v uintptr) error {
	if err := c.claim(); err != nil {
		return err
	}
	c.slot.result = int64(v)
	c.settle(stateReturn)
	return nil
}

// Fail lets the call fail with errno, which must not be 0.
func (c *Call) Fail(errno unix.Errno) error { return c.Return(uintptr(-int64(errno))) }

// Continue lets the kernel execute the call as if the hook had not taken it.
func (c *Call) Continue() error {
	if err := c.claim(); err != nil {
		return err
	}
	c.settle(stateContinue)
	return nil
}

// CopyFD returns a copy of the caller's file descriptor fd: it shares the open file
// description. It fails with EBADF if there is no such descriptor. The caller of CopyFD
// closes it.
func (c *Call) CopyFD(fd int) (int, error) {
	if c.foreign {
		return c.copyThrough(fd)
	}
	got, err := c.s.cfg.CopyFD(c, fd)
	if refusedHere(err) {
		return c.copyThrough(fd)
	}
	if errors.Is(err, unix.ESRCH) {
		return -1, ErrGone
	}
	return got, err
}

// ReadMemory fills b from the caller's memory at addr. It fails with EFAULT if it cannot
// read all of it, and with ErrGone if the call has ended.
func (c *Call) ReadMemory(addr uintptr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if c.foreign {
		return c.readThrough(addr, b)
	}
	err := readMemory(c.tid, addr, b)
	if refusedHere(err) {
		return c.readThrough(addr, b)
	}
	if err != nil {
		return err
	}
	if atomic.LoadUint32(&c.slot.word) != c.word {
		return ErrGone
	}
	return nil
}

// WriteMemory copies b into the caller's memory at addr. It fails as ReadMemory does.
func (c *Call) WriteMemory(addr uintptr, b []byte) error {
	return c.WriteMemoryv(addr, b, 0, nil)
}

// WriteMemoryv is WriteMemory to two places at the cost of one system call.
func (c *Call) WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	if len(b1)+len(b2) == 0 {
		return nil
	}
	if atomic.LoadUint32(&c.slot.word) != c.word {
		return ErrGone
	}
	err := error(unix.EPERM)
	if !c.foreign {
		err = writeMemory(c.tid, addr1, b1, addr2, b2)
	}
	if refusedHere(err) {
		if err = c.writeThrough(addr1, b1); err == nil {
			err = c.writeThrough(addr2, b2)
		}
	}
	return err
}
