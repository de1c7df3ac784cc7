package rewrite

import (
	"math/bits"
	"runtime"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// Serve passes each call to answer on the calling goroutine, until Close. For a call that
// may return a descriptor it starts a goroutine, because the program takes part in
// passing the descriptor. Serve reuses the Call: to keep it, answer uses Keep.
func (s *Server) Serve(answer func(*Call)) error {
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		return nil
	}
	s.tasks.Add(1)
	s.mu.Unlock()
	defer s.tasks.Done()
	if s.cfg.Processor {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
		defer func() { runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1)) }()
	}
	c := &Call{}
	for !s.closing.Load() {
		bell := atomic.LoadUint32(&s.shared.doorbell)
		some, others := s.round(c, answer)
		if others {
			// Let them run on this thread now. Otherwise the runtime would have to wake
			// another thread for them.
			runtime.Gosched()
		}
		if some {
			continue
		}
		atomic.StoreUint32(&s.shared.asleep, 1)
		if some, _ := s.round(c, answer); !some && !s.closing.Load() {
			linux.FutexWait(&s.shared.doorbell, bell)
		}
		atomic.StoreUint32(&s.shared.asleep, 0)
	}
	return nil
}

// round answers the pending calls. It returns whether there were any, and whether other
// goroutines have to act on them.
func (s *Server) round(c *Call, answer func(*Call)) (some, others bool) {
	for i := range s.shared.pending {
		if atomic.LoadUint64(&s.shared.pending[i]) == 0 {
			continue
		}
		for set := atomic.SwapUint64(&s.shared.pending[i], 0); set != 0; set &= set - 1 {
			some = true
			n := i*64 + bits.TrailingZeros64(set)
			others = s.tell(&s.shared.slots[n]) || others
			if s.reader != nil && s.reader.isFull(n) {
				s.logRang()
			}
			// A thread also rings when it has done something for a call that round took
			// before.
			if !c.take(s, n) || c.word == s.taken[n] {
				continue
			}
			s.taken[n] = c.word
			if s.reader != nil { // what the thread did before comes before
				s.flushSlot(n)
			}
			if givesDescriptor(c.nr) || c.foreign || s.indirect.Load() {
				others = true
				kept := c.copy()
				s.tasks.Go(func() { answer(kept) })
				continue
			}
			answer(c)
		}
	}
	return some, others
}

// givesDescriptor reports whether a call's answer may be a descriptor.
func givesDescriptor(nr uint64) bool {
	switch nr {
	case unix.SYS_SOCKET, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_DUP, unix.SYS_FCNTL:
		return true
	}
	return false
}
