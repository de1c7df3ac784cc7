package rewrite

import (
	"errors"
	"os"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// refusedHere reports whether an error means that the supervisor may not access a
// program's memory. Hosts can forbid it, and programs can (PR_SET_DUMPABLE of prctl(2)).
func refusedHere(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) ||
		errors.Is(err, unix.ENOSYS)
}

// operate lets the program do something for the supervisor, and returns the result. It
// calls prepare before and done after that, while no other goroutine uses the slot.
// Serve's goroutine should not wait for programs, so after the first use of operate,
// Serve starts a goroutine for each call.
func (c *Call) operate(operation, address, length uint64, prepare, done func()) error {
	c.s.indirect.Store(true)
	if err := c.claim(); err != nil {
		return err
	}
	if prepare != nil {
		prepare()
	}
	c.slot.args[argOperation], c.slot.args[argAddress],
		c.slot.args[argLength] = operation, address, length
	answering := c.state(stateAnswering)
	if err := c.await(stateOperate, func() bool { return atomic.LoadUint32(&c.slot.word) == answering }); err != nil {
		return err
	}
	result := c.slot.result
	if result >= 0 && done != nil {
		done()
	}
	atomic.StoreUint32(&c.slot.word, c.word)
	linux.FutexWake(&c.slot.word) // a signal may have arrived meanwhile
	if result < 0 {
		return unix.Errno(-result)
	}
	return nil
}

// readThrough is ReadMemory, done by the program itself.
func (c *Call) readThrough(addr uintptr, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), operationSize)
		if err := c.operate(readOperation, uint64(addr), uint64(n), nil,
			func() { copy(b, c.slot.data[:n]) }); err != nil {
			return err
		}
		b, addr = b[n:], addr+uintptr(n)
	}
	return nil
}

// writeThrough is WriteMemory, done by the program itself.
func (c *Call) writeThrough(addr uintptr, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), operationSize)
		if err := c.operate(writeOperation, uint64(addr), uint64(n),
			func() { copy(c.slot.data[:n], b) }, nil); err != nil {
			return err
		}
		b, addr = b[n:], addr+uintptr(n)
	}
	return nil
}

// copyThrough is CopyFD, done by the program itself.
func (c *Call) copyThrough(fd int) (int, error) {
	got := make(chan *os.File, 1)
	key := waitKey{uint32(c.tid), c.state(stateOperate)}
	c.s.mu.Lock()
	c.s.copies[key] = got
	c.s.mu.Unlock()
	err := c.operate(sendOperation, uint64(fd), 0, nil, nil)
	c.s.mu.Lock()
	delete(c.s.copies, key)
	c.s.mu.Unlock()
	select {
	case f := <-got:
		defer f.Close()
		if err != nil {
			return -1, err
		}
		return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	default:
	}
	if err == nil {
		err = unix.EIO
	}
	return -1, err
}

// serveCopy receives a descriptor that the supervisor requested from a program.
func (s *Server) serveCopy(v conversation, r request, f *os.File) error {
	s.mu.Lock()
	to := s.copies[waitKey{r.TID, uint32(r.A)}]
	s.mu.Unlock()
	if f == nil {
		return unix.EBADF
	}
	select {
	case to <- f: // never ready for a nil channel
	default:
		f.Close()
		return unix.ENOENT
	}
	return v.sendRequest(r)
}
