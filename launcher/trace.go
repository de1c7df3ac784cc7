package launcher

import (
	"sync"

	"github.com/boxer-sandbox/boxer/rewrite"
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"github.com/boxer-sandbox/boxer/trace"
)

// Trace says what to record of a program from its start.
type Trace struct {
	Sink   *trace.Sink  // gets the events; the caller closes it after Run
	Header trace.Header // the fields that the caller knows; Run sets the others
	Bytes  int          // how many bytes of payload to keep of each read or write
	FDs    bool         // show what descriptors are
	Select Selection    // which calls to record
}

// A Selection says which calls a trace records; see ParseSelection.
type Selection = strace.Selection

// ParseSelection parses the argument of strace's -e: "network", "file,connect", "!futex".
func ParseSelection(s string) (Selection, error) {
	return strace.ParseSelection(s, callNumbers().Native)
}

// callNumbers returns the numbers of all system calls.
var callNumbers = sync.OnceValue(func() strace.Numbers {
	return strace.Numbers{Native: sandbox.CallNumbers(),
		Compat: sandbox.CompatCallNumbers()}
})

// tracedRows returns the filter's rows for a program that is traced from its start. shown
// are the numbers of the calls to record.
func tracedRows(shown []uintptr) []syscalls.Entry {
	rows := append(syscalls.Traced(shown),
		processRows(shown, callNumbers().Native, false)...)
	rows = append(rows, syscalls.CompatTraced(shown, callNumbers())...)
	return append(rows, processRows(shown, callNumbers().Compat, true)...)
}

// watches reports whether the filter traps calls that start a program.
func (c RunConfig) watches() bool { return c.Trace != nil }

// logging returns what calls may be logged; nil: none. A log does not tell what a
// descriptor was when a call used it.
func (c RunConfig) logging(direct bool) *logging {
	if c.Trace == nil || c.Trace.FDs || c.Trace.Bytes > rewrite.MaxPayload {
		return nil
	}
	names := make(map[uintptr]string)
	for name, nr := range callNumbers().Native {
		names[nr] = name
	}
	return &logging{names, c.Trace.Bytes, direct}
}

// traceFrom begins to trace the node for a sink.
func (n *node) traceFrom(t *Trace) {
	h := t.Header
	h.Sets = []string{t.Select.Text}
	n.attach(&subscriber{t.Sink, t.Bytes, t.FDs, t.Select.Calls}, h)
}

// programEnded records the program's exit status for traces.
func (n *node) programEnded(pid, code int) {
	n.recording.Lock()
	defer n.recording.Unlock()
	n.reason = endOf(code)
	if r := n.recorder.Load(); r != nil {
		r.programEnded(pid, code)
	}
}

// endTrace ends all traces and gives the reason.
func (n *node) endTrace() {
	if n.names != nil {
		n.names.Unanswered()
	}
	n.recording.Lock()
	defer n.recording.Unlock()
	reason := n.reason
	if reason == "" {
		reason = "the program was not started"
	}
	n.ending = true
	r := n.recorder.Swap(nil)
	if r == nil {
		return
	}
	r.close()
	for _, t := range r.subscribers {
		t.sink.Put(&trace.End{Base: r.now(), Reason: reason})
	}
}
