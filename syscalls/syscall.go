package syscalls

import (
	"slices"

	"golang.org/x/sys/unix"
)

// An Outcome says what is known of a call's end.
type Outcome uint8

const (
	// it has begun, and waits; another Record of the same ID follows
	Waits     Outcome = iota
	Returned          // Record.Value
	FailedBy          // Record.Errno
	Continued         // the kernel does it, and its result is not known
	// nobody waits any more: a signal has ended it, or the thread
	Ended
)

// A Syscall is a system call as it was observed: its registers, what is known of its
// result, and the memory that it takes to show both.
type Syscall struct {
	Nr      uintptr // of the native call that it means
	Args    [6]uint64
	Outcome Outcome
	Value   int64
	Errno   unix.Errno

	payload int // how many bytes of payload are kept, and shown
	pieces  []piece
	buf     []byte
	fds     []fdNote
	sig     *signature
}

// begin takes down a call of a signature, and its arguments. So many bytes of payload
// are to be kept of it.
func (s *Syscall) begin(sig *signature, args [6]uint64, payload int) {
	s.Nr, s.sig, s.Args, s.payload = sig.nr, sig, args, payload
}

// reset makes s ready for another call. It keeps the buffers.
func (s *Syscall) reset() {
	*s = Syscall{buf: s.buf[:0], fds: s.fds[:0], pieces: s.pieces[:0]}
}

// copyFrom makes s a copy of o with buffers of its own.
func (s *Syscall) copyFrom(o *Syscall) {
	buf, fds, pieces := s.buf, s.fds, s.pieces
	*s = *o
	s.buf = append(buf[:0], o.buf...)
	s.fds = append(fds[:0], o.fds...)
	s.pieces = append(pieces[:0], o.pieces...)
}

// mainFD returns the descriptor that the call is about. ok is false if that is not its
// first argument.
func (s *Syscall) mainFD() (fd int, ok bool) {
	if s.sig == nil || len(s.sig.params) == 0 || !s.sig.params[0].fd {
		return -1, false
	}
	return s.int(0), true
}

// describe takes down what a descriptor is.
func (s *Syscall) describe(fd int, text string) {
	for i := range s.fds {
		if s.fds[i].fd == fd {
			s.fds[i].text = text
			return
		}
	}
	s.fds = append(s.fds, fdNote{fd, text})
}

// isDescribed reports whether it is taken down what a descriptor is.
func (s *Syscall) isDescribed(fd int) bool {
	return slices.ContainsFunc(s.fds, func(n fdNote) bool { return n.fd == fd })
}

// A piece is a part of the program's memory: as it was read for the call, or as
// the call has left it.
type piece struct {
	addr    uintptr
	at, len int // in buf
	after   bool
}

// A fdNote is what a descriptor was.
type fdNote struct {
	fd   int
	text string
}

// maxKept bounds the memory kept of a call, in bytes, besides payload.
const maxKept = 4 << 10

// maxPiece bounds what is kept of one read or write; of payload it may be more.
const maxPiece = 1 << 10

// keep takes down a piece of memory.
func (s *Syscall) keep(addr uintptr, b []byte, after bool) {
	limit := min(max(maxPiece, s.payload), maxKept+s.payload-len(s.buf))
	if len(b) > limit {
		b = b[:max(limit, 0)]
	}
	if len(b) == 0 {
		return
	}
	s.pieces = append(s.pieces, piece{addr, len(s.buf), len(b), after})
	s.buf = append(s.buf, b...)
}

// view returns n bytes of the program's memory, before the call or after it; ok
// is false if they were not taken down.
func (s *Syscall) view(addr uintptr, n int, after bool) (b []byte, ok bool) {
	if n == 0 {
		return nil, true
	}
	if n < 0 || addr == 0 {
		return nil, false
	}
	for _, p := range s.pieces {
		if p.after && !after || addr < p.addr || addr+uintptr(n) > p.addr+uintptr(p.len) {
			continue
		}
		b = s.buf[p.at+int(addr-p.addr):][:n]
		break
	}
	if b == nil {
		return nil, false
	}
	if !after {
		return b, true
	}
	own := false
	for _, p := range s.pieces { // what was written later, in part
		if !p.after || p.addr >= addr+uintptr(n) || addr >= p.addr+uintptr(p.len) {
			continue
		}
		if !own {
			b, own = append([]byte(nil), b...), true
		}
		if p.addr >= addr {
			copy(b[p.addr-addr:], s.buf[p.at:p.at+p.len])
		} else {
			copy(b, s.buf[p.at+int(addr-p.addr):p.at+p.len])
		}
	}
	return b, true
}

// OfNetwork reports whether the call is one of the network's.
func (s *Syscall) OfNetwork() bool { return slices.Contains(networkNumbers, s.Nr) }

// ok reports whether the call has succeeded, as far as is known.
func (s *Syscall) ok() bool { return s.Outcome == Returned }
