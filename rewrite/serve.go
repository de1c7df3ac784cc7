package rewrite

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Serve hands each call to answer, on the calling goroutine, until Close. Calls that may come to a descriptor are
// handed over on goroutines of their own, since the program takes part in that. The Call is reused:
// answer keeps it by its Keep.
func (s *Server) Serve(answer func(*Call)) error {
	s.tasks.Add(1)
	defer s.tasks.Done()
	// A thread that sleeps by itself holds a processor of the runtime's until the monitor takes it away, which
	// takes up to 10 ms: so there is one more.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	defer func() { runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1)) }()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &Call{}
	busy := false // calls come one upon the other
	for !s.closing.Load() {
		bell := atomic.LoadUint32(&s.shared.doorbell)
		if s.round(c, answer) || busy && s.look(bell) {
			continue
		}
		atomic.StoreUint32(&s.shared.asleep, 1)
		if busy = false; !s.round(c, answer) && !s.closing.Load() {
			from := time.Now()
			sleep(&s.shared.doorbell, bell)
			busy = s.shared.spin > 0 && time.Since(from) < busyGap
		}
		atomic.StoreUint32(&s.shared.asleep, 0)
	}
	return nil
}

const (
	// busyGap is how soon a call comes after the one before where it is worth while to look for the next one.
	busyGap = 40 * time.Microsecond
	// lookFor is how long Serve does so. Sleeping and waking takes 10 us and more.
	lookFor = 12 * time.Microsecond
	// spins is about as long, for programs that look for an answer.
	spins = 150
)

// look waits for a call without sleeping. It returns false if there is none for a while.
func (s *Server) look(bell uint32) bool {
	from := time.Now()
	for {
		for range 50 {
			if atomic.LoadUint32(&s.shared.doorbell) != bell {
				return true
			}
		}
		if time.Since(from) > lookFor {
			return false
		}
	}
}

// round answers the calls that are there. It returns false if there was none.
func (s *Server) round(c *Call, answer func(*Call)) bool {
	some := false
	for i := range s.shared.pending {
		if atomic.LoadUint64(&s.shared.pending[i]) == 0 {
			continue
		}
		for set := atomic.SwapUint64(&s.shared.pending[i], 0); set != 0; set &= set - 1 {
			some = true
			n := i*64 + bits.TrailingZeros64(set)
			s.tell(&s.shared.slots[n])
			// A thread also rings when it has done something for a call that was taken already.
			if !c.take(s, n) || c.word == s.taken[n] {
				continue
			}
			s.taken[n] = c.word
			if givesDescriptor(c.nr) || s.indirect.Load() {
				kept := c.copy()
				s.tasks.Go(func() { answer(kept) })
				continue
			}
			answer(c)
		}
	}
	return some
}

// givesDescriptor reports whether a call's answer may be a descriptor.
func givesDescriptor(nr uint64) bool {
	switch nr {
	case unix.SYS_SOCKET, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_DUP, unix.SYS_FCNTL:
		return true
	}
	return false
}
