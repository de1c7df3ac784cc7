package rewrite

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A waitKey identifies a call that waits for something from its program, or for its
// program.
type waitKey struct {
	tid, word uint32 // the thread, and its slot's word while it waits
}

// stepLook is the interval at which await checks whether the program still lives.
const stepLook = 5 * time.Millisecond

// InstallFD installs a copy of fd in the caller under the lowest free number, and lets
// the call return that number. It also returns the number. fd stays open in the
// supervisor. It fails with ErrGone if the call has ended, and with EMFILE at the
// caller's limit (RLIMIT_NOFILE). After EMFILE the call still needs an answer.
func (c *Call) InstallFD(fd int, cloexec bool) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	n := c.s.takeCell()
	defer c.s.freeCell(n)
	if err := c.claim(); err != nil {
		return -1, err
	}
	c.slot.flags = 0
	if cloexec {
		c.slot.flags = unix.O_CLOEXEC
	}
	c.slot.args[argFrom], c.slot.args[argInode], c.slot.args[argCell] = uint64(fd),
		st.Ino, uint64(n)
	key := waitKey{uint32(c.tid), c.state(stateReceive)}
	c.s.setFetch(key, fd)
	defer c.s.setFetch(key, -1)
	cell := &c.s.shared.cells[n]
	if err := c.await(stateReceive, func() bool { return atomic.LoadUint32(&cell.done) != 0 }); err != nil {
		return -1, err
	}
	if cell.value < 0 {
		return -1, unix.EMFILE
	}
	return int(cell.value), nil
}

// await sets the call to a state in which its program does something for the supervisor,
// and waits until the program has done it. The program then rings, and Serve wakes await
// through tell.
func (c *Call) await(state uint32, done func() bool) error {
	told := make(chan struct{}, 1)
	c.s.setWaiter(c.slot, told)
	defer c.s.setWaiter(c.slot, nil)
	c.settle(state)
	t := time.NewTicker(stepLook)
	defer t.Stop()
	for {
		gone := false
		select {
		case <-told:
		case <-t.C:
			gone = !c.follows()
		}
		// Check in this order: the program may end right after it has finished.
		if done() {
			return nil
		}
		if gone {
			return ErrGone
		}
	}
}

func (s *Server) setWaiter(p *slot, told chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if told == nil {
		delete(s.waiters, p)
	} else {
		s.waiters[p] = told
	}
	s.waiting.Store(int64(len(s.waiters)))
}

// tell wakes the goroutine that waits for a slot's thread, because the thread has rung.
// It returns false if no goroutine waits.
func (s *Server) tell(p *slot) bool {
	if s.waiting.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.waiters[p] <- struct{}{}: // never ready for a nil channel
		return true
	default:
		return false
	}
}

// follows reports whether the program may still do what the supervisor asked for.
func (c *Call) follows() bool {
	return c.alive() && !c.s.closing.Load() && c.slot.epoch() == c.epoch
}

// takeCell returns a free cell.
func (s *Server) takeCell() int {
	n := <-s.cells
	atomic.StoreUint32(&s.shared.cells[n].done, 0)
	return n
}

func (s *Server) freeCell(n int) { s.cells <- n }

// setFetch sets the descriptor that a call receives. -1 removes it.
func (s *Server) setFetch(k waitKey, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd < 0 {
		delete(s.fetches, k)
		return
	}
	s.fetches[k] = fd
}

// serveFetch sends a descriptor to the program.
func (s *Server) serveFetch(v conversation, r request) error {
	s.mu.Lock()
	fd, ok := s.fetches[waitKey{r.TID, uint32(r.A)}]
	copied := -1
	if ok { // send it before the call closes it
		copied, _ = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	s.mu.Unlock()
	if copied < 0 {
		return unix.ENOENT
	}
	f := os.NewFile(uintptr(copied), "for the program")
	defer f.Close()
	return v.sendRequest(r, f)
}
