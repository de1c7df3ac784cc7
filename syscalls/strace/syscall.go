package strace

import (
	"slices"

	"golang.org/x/sys/unix"
)

// An Outcome is how a call ended, as far as that is known.
type Outcome uint8

const (
	Waits     Outcome = iota // the call has not ended
	Returned                 // with Syscall.Value
	FailedBy                 // with Syscall.Errno
	Continued                // the kernel does the call, and its result is not known
	Ended                    // a signal ended the call, or its thread ended
)

// A Syscall is a system call as it was observed: its arguments, its result as far as that
// is known, and the memory that Decode needs to show them.
type Syscall struct {
	Nr      uintptr // the number of the native call with the same meaning
	Args    [6]uint64
	Outcome Outcome
	Value   int64      // the result, if Outcome is Returned
	Errno   unix.Errno // if Outcome is FailedBy

	payload int // how many bytes of payload are stored and shown
	pieces  []piece
	buf     []byte // the bytes of all pieces
	fds     []fdNote
	sig     *Signature
}

// Begin stores a call's signature and arguments. At most payload bytes of what the call
// sends or receives are to be stored.
func (s *Syscall) Begin(sig *Signature, args [6]uint64, payload int) {
	s.Nr, s.sig, s.Args, s.payload = sig.Nr, sig, args, payload
}

// Reset makes s ready for another call. It keeps the buffers.
func (s *Syscall) Reset() {
	*s = Syscall{buf: s.buf[:0], fds: s.fds[:0], pieces: s.pieces[:0]}
}

// CopyFrom makes s a copy of o with buffers of its own.
func (s *Syscall) CopyFrom(o *Syscall) {
	buf, fds, pieces := s.buf, s.fds, s.pieces
	*s = *o
	s.buf = append(buf[:0], o.buf...)
	s.fds = append(fds[:0], o.fds...)
	s.pieces = append(pieces[:0], o.pieces...)
}

// MainFD returns the call's first argument. ok is false if that is not a descriptor.
func (s *Syscall) MainFD() (fd int, ok bool) {
	if s.sig == nil || len(s.sig.params) == 0 || !s.sig.params[0].fd {
		return -1, false
	}
	return s.int(0), true
}

// Describe stores what a descriptor is, such as "TCP:[10.111.0.2:80]".
func (s *Syscall) Describe(fd int, text string) {
	for i := range s.fds {
		if s.fds[i].fd == fd {
			s.fds[i].text = text
			return
		}
	}
	s.fds = append(s.fds, fdNote{fd, text})
}

// IsDescribed reports whether Describe was called for a descriptor.
func (s *Syscall) IsDescribed(fd int) bool {
	return slices.ContainsFunc(s.fds, func(n fdNote) bool { return n.fd == fd })
}

// A piece is a part of the program's memory: as it was before the call, or as the call
// changed it.
type piece struct {
	addr    uintptr
	at, len int // in buf
	after   bool
}

// A fdNote describes a descriptor.
type fdNote struct {
	fd   int
	text string
}

// maxKept bounds the memory that is stored of a call in bytes, without payload.
const maxKept = 4 << 10

// maxPiece bounds one piece in bytes. A piece of payload may be larger.
const maxPiece = 1 << 10

// NoteMemory stores a piece of memory: as it was before the call, or, if after is true,
// as the call changed it. It stores less where a bound of the call is reached.
func (s *Syscall) NoteMemory(addr uintptr, b []byte, after bool) {
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

// view returns n bytes of the program's memory, as they were before the call or after it.
// ok is false if they were not stored.
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
	for _, p := range s.pieces { // which may have changed a part of it
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

// OfNetwork reports whether the call belongs to strace's set %network.
func (s *Syscall) OfNetwork() bool { return slices.Contains(networkNumbers, s.Nr) }

// ok reports whether the call is known to have succeeded.
func (s *Syscall) ok() bool { return s.Outcome == Returned }
