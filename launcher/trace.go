package launcher

import (
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
)

// Trace says what to take down of a program from its start.
type Trace struct {
	Sink   *trace.Sink  // gets the events; the caller closes it when Run has returned
	Header trace.Header // what the caller knows of it; the rest is filled in
	Bytes  int          // how many bytes of payload to keep of each piece
	FDs    bool         // show what descriptors are
}

// traceFrom begins to trace the node for a sink.
func (n *node) traceFrom(t *Trace) {
	if n.recorder.Load() == nil {
		n.recorder.Store(newRecorder(n.member, n.calls))
	}
	n.recorder.Load().add(&taker{t.Sink, t.Bytes, t.FDs}, t.Header)
}

// endTrace tells those who trace why that ends.
func (n *node) endTrace(reason string) {
	r := n.recorder.Swap(nil)
	if r == nil {
		return
	}
	r.close()
	for _, t := range r.takers {
		t.sink.Put(&trace.End{Base: r.now(), Reason: reason})
	}
}

// tracedPolicy is policy with every network call, and with those that are watched.
func tracedPolicy(watched []uintptr) sandbox.Policy {
	return policyOf(syscalls.Traced(watched))
}
