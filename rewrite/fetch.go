package rewrite

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A waitKey names a call that waits for something from its program, or for its program.
type waitKey struct {
	tid, word uint32 // the thread, and its slot's word meanwhile
}

// stepLook is how often is looked whether a program that has to do something still lives.
const stepLook = 5 * time.Millisecond

// InstallFD gives the caller a copy of fd and lets the call return its number, the lowest
// that is free, which InstallFD returns too. fd stays open here. It fails with ErrGone if
// nobody waits any more, and with EMFILE at the caller's limit (RLIMIT_NOFILE); the call
// is then still to be answered.
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

// await puts the call in a state in which its program does something, and waits until
// that is done. The program rings then, and Serve tells.
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
		// In this order: a program may end right after it has done it.
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

// tell tells who waits for a slot's thread that it has rung. It returns false if nobody
// does.
func (s *Server) tell(p *slot) bool {
	if s.waiting.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.waiters[p] <- struct{}{}: // to a nil channel never
		return true
	default:
		return false
	}
}

// follows reports whether the program may still do what it is to do.
func (c *Call) follows() bool {
	return c.alive() && !c.s.closing.Load() && c.slot.epoch() == c.epoch
}

// takeCell returns a cell that nobody uses.
func (s *Server) takeCell() int {
	n := <-s.cells
	atomic.StoreUint32(&s.shared.cells[n].done, 0)
	return n
}

func (s *Server) freeCell(n int) { s.cells <- n }

// setFetch says which descriptor a call gets; -1: none any more.
func (s *Server) setFetch(k waitKey, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd < 0 {
		delete(s.fetches, k)
		return
	}
	s.fetches[k] = fd
}

// serveFetch hands a descriptor over.
func (s *Server) serveFetch(v conversation, r request) error {
	s.mu.Lock()
	fd, ok := s.fetches[waitKey{r.TID, uint32(r.A)}]
	copied := -1
	if ok { // before the call closes it
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
