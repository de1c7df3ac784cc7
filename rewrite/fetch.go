package rewrite

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A fetch is a descriptor that waits for its program.
type fetch struct {
	file *os.File // not owned
	done chan int64
}

type fetchKey struct {
	tid  uint32
	word uint32
}

// fetchLook is how often is looked whether a program that is to fetch a descriptor still lives.
const fetchLook = 5 * time.Millisecond

// InstallFD gives the caller a copy of fd and lets the call return its number, the lowest that is
// free, which InstallFD returns too. fd stays open here. It fails with ErrGone if nobody waits any
// more, and with EMFILE at the caller's limit (RLIMIT_NOFILE); the call is then still to be answered.
func (c *Call) InstallFD(fd int, cloexec bool) (int, error) {
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	f := &fetch{file: os.NewFile(uintptr(copied), "for the program"), done: make(chan int64, 1)}
	defer f.file.Close()
	if err := c.claim(); err != nil {
		return -1, err
	}
	c.slot.flags = 0
	if cloexec {
		c.slot.flags |= unix.O_CLOEXEC
	}
	key := fetchKey{uint32(c.tid), c.state(stateReceive)}
	c.s.setFetch(key, f)
	defer c.s.setFetch(key, nil)
	c.settle(stateReceive)
	t := time.NewTicker(fetchLook)
	defer t.Stop()
	for {
		select {
		case n := <-f.done:
			if n < 0 {
				return -1, unix.Errno(-n)
			}
			return int(n), nil
		case <-t.C:
			// A handler of the thread may have the slot meanwhile: then it is put back.
			if w := atomic.LoadUint32(&c.slot.word); w == c.word {
				return -1, unix.EMFILE
			}
			if !alive(c.tid) || c.s.closing.Load() {
				return -1, ErrGone
			}
		}
	}
}

func (s *Server) setFetch(k fetchKey, f *fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		delete(s.fetches, k)
		return
	}
	s.fetches[k] = f
}

// serveFetch hands a descriptor over.
func (s *Server) serveFetch(v conversation, r request) error {
	s.mu.Lock()
	f := s.fetches[fetchKey{r.TID, uint32(r.A)}]
	s.mu.Unlock()
	if f == nil {
		return unix.ENOENT
	}
	if err := v.sendRequest(r, f.file); err != nil {
		return err
	}
	r, _, _, err := v.receive()
	if err != nil {
		return err
	}
	select {
	case f.done <- r.B:
	default: // it was asked for twice
	}
	return nil
}
