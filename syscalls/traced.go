package syscalls

import (
	"slices"
	"sync"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// Traced returns the rows for the filter of a node whose calls with the given
// numbers are traced from its start: those of Table, with these calls in full.
func Traced(shown []uintptr) []Entry {
	var rows []Entry
	for _, e := range table {
		if !slices.Contains(shown, e.Nr) || fails(e.Nr) {
			rows = append(rows, e)
		}
	}
	for _, nr := range shown {
		if !fails(nr) { // as in the table: nothing reaches the kernel
			rows = append(rows, Entry{Nr: nr, Note: "traced"})
		}
	}
	return rows
}

// fails reports whether every row of a call is a failure.
func fails(nr uintptr) bool {
	found := false
	for _, e := range table {
		if e.Nr == nr {
			if e.Fail == 0 || len(e.When) > 0 {
				return false
			}
			found = true
		}
	}
	return found
}

// rowsByNumber are the rows of the table, several for calls with conditions.
var rowsByNumber = sync.OnceValue(func() *[512][]Entry {
	var rows [512][]Entry
	for _, e := range table {
		rows[e.Nr] = append(rows[e.Nr], e)
	}
	return &rows
})

// doTraced does what the filter and the handlers do where nothing is traced: the
// conditions that the filter has there are looked at here. What is left to the
// kernel is done by emulators, where that is the same to the program.
func (n *Node) doTraced(c Call) reply {
	r, nr := n.doTable(c), c.Nr()
	if r.kind == replyContinue && nr < uintptr(len(emulators)) && emulators[nr] != nil {
		return emulators[nr](n, c)
	}
	return r
}

// doTable does what the call's row says whose conditions hold.
func (n *Node) doTable(c Call) reply {
	rows, nr := rowsByNumber(), c.Nr()
	if nr >= uintptr(len(rows)) {
		return passthrough
	}
	for i := range rows[nr] {
		if e := &rows[nr][i]; e.holds(c) {
			if e.Fail != 0 {
				return fail(e.Fail)
			}
			return e.do(n, c)
		}
	}
	return passthrough
}

// holds reports whether the row is about a call.
func (e *Entry) holds(c Call) bool {
	for _, w := range e.When {
		if !w.Holds(c.Uint(int(w.Arg))) {
			return false
		}
	}
	return true
}

// NewTracing makes a Tracing of the calls with the given native numbers, and of those
// that mean the same in the 32-bit ABI.
func NewTracing(t Tracer, show []uintptr, numbers strace.Numbers) *Tracing {
	return &Tracing{Tracer: t, calls: strace.NewTable(show, numbers)}
}

// shows reports whether calls of a number are told of.
func (t *Tracing) shows(nr uintptr) bool { return t.calls.Shows(nr) }
