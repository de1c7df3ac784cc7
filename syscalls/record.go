package syscalls

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Tracer is told what a node's programs call. See Node.Trace.
type Tracer interface {
	// Called takes over what is known of a call, when it begins to wait and when it
	// has been answered. It is called on the threads that answer, and must not wait.
	Called(*Record)
}

// Tracing says whom to tell of trapped calls, and what to keep of them. See NewTracing.
type Tracing struct {
	Tracer Tracer
	Bytes  int  // how many bytes of payload to keep of each call
	FDs    bool // keep what descriptors are: costs some microseconds per call

	signatures [512]*signature
	compat     map[uintptr]compatSignature // see compatCall.key
}

// Trace tells t.Tracer of every trapped call that begins from now on; nil ends
// that. While it is on, the node also does what it otherwise leaves to the
// kernel, where that is the same to the program: so the result is known.
func (n *Node) Trace(t *Tracing) { n.tracing.Store(t) }

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

// A Record is what is known of one trapped call, as it was taken down on the
// thread that answers. What it takes to show that is done later, by Decode.
type Record struct {
	ID      uint64 // the same for all Records of a call
	TID     int
	Nr      uintptr
	Args    [6]uint64
	Outcome Outcome
	Value   int64
	Errno   unix.Errno
	Start   time.Time     // when it came
	Took    time.Duration // until its answer
	Network time.Duration // of it: waiting for somebody else
	Ends    Ends          // which connection it was about, as far as known

	bytes  int // of payload, kept and shown
	pieces []piece
	buf    []byte
	fds    []fdNote
	reads  [8]piece // pieces to begin with
	owner  *tracedCall
	sig    *signature
	compat bool // it is of the 32-bit ABI; Nr is the number of what it means
	time64 bool // of those: its struct timespec is the native one
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
func (r *Record) keep(addr uintptr, b []byte, after bool) {
	limit := min(max(maxPiece, r.bytes), maxKept+r.bytes-len(r.buf))
	if len(b) > limit {
		b = b[:max(limit, 0)]
	}
	if len(b) == 0 {
		return
	}
	r.pieces = append(r.pieces, piece{addr, len(r.buf), len(b), after})
	r.buf = append(r.buf, b...)
}

// view returns n bytes of the program's memory, before the call or after it; ok
// is false if they were not taken down.
func (r *Record) view(addr uintptr, n int, after bool) (b []byte, ok bool) {
	if n == 0 {
		return nil, true
	}
	if n < 0 || addr == 0 {
		return nil, false
	}
	for _, p := range r.pieces {
		if p.after && !after || addr < p.addr || addr+uintptr(n) > p.addr+uintptr(p.len) {
			continue
		}
		b = r.buf[p.at+int(addr-p.addr):][:n]
		break
	}
	if b == nil {
		return nil, false
	}
	if !after {
		return b, true
	}
	own := false
	for _, p := range r.pieces { // what was written later, in part
		if !p.after || p.addr >= addr+uintptr(n) || addr >= p.addr+uintptr(p.len) {
			continue
		}
		if !own {
			b, own = append([]byte(nil), b...), true
		}
		if p.addr >= addr {
			copy(b[p.addr-addr:], r.buf[p.at:p.at+p.len])
		} else {
			copy(b, r.buf[p.at+int(addr-p.addr):p.at+p.len])
		}
	}
	return b, true
}

// OfNetwork reports whether the call is one of the network's.
func (r *Record) OfNetwork() bool { return slices.Contains(networkNumbers, r.Nr) }

// ok reports whether the call has succeeded, as far as is known.
func (r *Record) ok() bool { return r.Outcome == Returned }

// Release gives the record back, to be used for another call.
func (r *Record) Release() {
	c := r.owner
	*r = Record{owner: c, buf: r.buf[:0], fds: r.fds[:0], pieces: r.pieces[:0]}
	c.Call = nil
	tracedCalls.Put(c)
}

var tracedCalls = sync.Pool{New: func() any {
	c := &tracedCall{}
	c.owner = c
	c.pieces = c.reads[:0]
	c.buf = make([]byte, 0, 512)
	return c
}}
