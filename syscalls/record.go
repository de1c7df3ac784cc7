package syscalls

import (
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// A Tracer receives the calls of a node's programs. See Node.Trace.
type Tracer interface {
	// Called receives a call when the call begins to wait, and when the node has answered
	// it. The Tracer owns the Record until it calls Release. Called runs on the
	// goroutines that answer calls, and must not block.
	Called(*Record)
}

// Tracing says who receives trapped calls, and what is stored of them. See NewTracing.
type Tracing struct {
	Tracer Tracer
	Bytes  int  // how many bytes of payload are stored of each call
	FDs    bool // describe descriptors, which costs some microseconds per call

	calls *strace.Table // the calls that the Tracer receives
}

// Trace passes t.Tracer every trapped call that begins from now on; nil ends that. While
// the node is traced, it also performs calls that it otherwise leaves to the kernel, to
// know their results. It does so only where the program sees no difference.
func (n *Node) Trace(t *Tracing) { n.tracing.Store(t) }

// A Record has one trapped call, as the goroutine that answered it stored it. Decode
// shows the call later.
type Record struct {
	strace.Syscall
	ID      uint64 // the same for all Records of a call
	TID     int
	Start   time.Time     // when the call was trapped
	Took    time.Duration // until its answer
	Network time.Duration // the part of Took that the call waited for a peer
	Late    bool          // the call had ended before the node knew of it
	Ends    Ends          // of the connection that the call was about, as far as known

	owner *tracedCall
}

// Release makes the Record available for another call. The caller must not use it
// afterwards.
func (r *Record) Release() {
	c := r.owner
	r.Syscall.Reset()
	*r = Record{owner: c, Syscall: r.Syscall}
	c.Call = nil
	tracedCalls.Put(c)
}

var tracedCalls = sync.Pool{New: func() any {
	c := &tracedCall{}
	c.owner = c
	return c
}}
