package syscalls

import (
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
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

	calls *strace.Table // those that are told of
}

// Trace tells t.Tracer of every trapped call that begins from now on; nil ends
// that. While it is on, the node also does what it otherwise leaves to the
// kernel, where that is the same to the program: so the result is known.
func (n *Node) Trace(t *Tracing) { n.tracing.Store(t) }

// A Record is what is known of one trapped call, as it was taken down on the
// thread that answers. What it takes to show that is done later, by Decode.
type Record struct {
	strace.Syscall
	ID      uint64 // the same for all Records of a call
	TID     int
	Start   time.Time     // when it came
	Took    time.Duration // until its answer
	Network time.Duration // of it: waiting for somebody else
	Ends    Ends          // which connection it was about, as far as known

	owner *tracedCall
}

// Release gives the record back, to be used for another call.
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
