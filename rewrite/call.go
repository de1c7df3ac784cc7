package rewrite

import (
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// ErrGone means that a call is not there any more: a signal interrupted it, or its thread
// died. Nobody waits for the answer.
var ErrGone = errors.New("the call has ended")

// A Call is one call of a program. One of Return, Fail, Continue and InstallFD answers
// it.
type Call struct {
	s    *Server
	slot *slot
	word uint32 // the slot's, while the call waits
	tid  int
	nr   uint64
	args [6]uint64

	epoch uint32 // of the slot

	// foreign means that the thread's number is another thread's here: the caller is in a
	// PID namespace (pid_namespaces(7)). The supervisor must not touch that one.
	foreign bool
}

// take reads the call of a slot. It returns false if there is none.
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

// seen is a thread that has a slot at an address.
type seen struct {
	tid  int
	self uint64
}

// sharesSlot reports whether the process of a thread has that thread's slot at an
// address. A process into which the supervisor may not look is taken for the right one:
// what is to be done there, it does itself.
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

// Keep returns a copy that may be used after the function that Serve has called has
// returned.
func (c *Call) Keep() *Call { return c.copy() }

// TID is the thread that called.
func (c *Call) TID() int { return c.tid }

// Compat is false: programs of the 32-bit ABI are not followed.
func (c *Call) Compat() bool { return false }

// Nr is the system call's number.
func (c *Call) Nr() uintptr { return uintptr(c.nr) }

// Int returns argument i as a C int; the register's upper half is undefined.
func (c *Call) Int(i int) int { return int(int32(c.args[i])) }

// Uint returns argument i as an unsigned long or size_t.
func (c *Call) Uint(i int) uint64 { return c.args[i] }

// Ptr returns argument i as an address in the caller's memory.
func (c *Call) Ptr(i int) uintptr { return uintptr(c.args[i]) }

// Pending reports whether the call still waits for its answer.
func (c *Call) Pending() bool {
	return atomic.LoadUint32(&c.slot.word) == c.word && c.alive()
}

// alive reports whether the caller's thread is there. Of one in another PID namespace
// nobody knows.
func (c *Call) alive() bool { return c.foreign || alive(c.tid) }

// epoch counts the programs that the slot's thread has executed.
func (p *slot) epoch() uint32 { return atomic.LoadUint32(&p.execs) }

// executed says that a process runs another program. A call of its first thread may have
// waited, if another thread has executed the program: nobody waits for its answer.
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

// hash is where the search for a thread's slot begins: slot_of in inside/hook.c.
func hash(tid uint32) uint32 { return tid * 2654435761 >> 20 % starts }

// alive reports whether there is a thread. Of one that belongs to somebody else it is
// told EPERM.
func alive(tid int) bool {
	return !errors.Is(linux.Tkill(tid, 0), unix.ESRCH)
}

func (c *Call) state(state uint32) uint32 { return c.word&^stateMask | state }

// claim makes sure that nobody else answers, and that the program does not give the call
// up meanwhile.
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

// Continue lets the kernel do the call as if it had not been taken.
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

// ReadMemory fills b from the caller's memory at addr. It fails with EFAULT if any of it
// cannot be read, and with ErrGone if the call has ended.
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

// WriteMemoryv is WriteMemory to two places, at the price of one.
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
