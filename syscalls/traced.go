package syscalls

import (
	"slices"
	"sync"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// Traced returns the rows for the filter of a node that is traced from its start. They
// are the rows of Table, but they trap the calls with the given numbers without
// conditions.
func Traced(shown []uintptr) []Entry {
	var rows []Entry
	for _, e := range table {
		if !slices.Contains(shown, e.Nr) || fails(e.Nr) {
			rows = append(rows, e)
		}
	}
	for _, nr := range shown {
		if !fails(nr) { // the filter always fails these calls
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

// rowsByNumber returns the rows of the table by the number of the call. Calls with
// conditions have several rows.
var rowsByNumber = sync.OnceValue(func() *[512][]Entry {
	var rows [512][]Entry
	for _, e := range table {
		rows[e.Nr] = append(rows[e.Nr], e)
	}
	return &rows
})

// doTraced answers a call that a filter traps without conditions. It checks the
// conditions of the table's rows, as the filter does where nothing is traced. An emulator
// does what the table leaves to the kernel, where the program sees no difference.
func (n *Node) doTraced(c Call) reply {
	r, nr := n.doTable(c), c.Nr()
	if r.kind == replyContinue && nr < uintptr(len(emulators)) && emulators[nr] != nil {
		return emulators[nr](&n.emulator, c)
	}
	return r
}

// doTable answers a call by the first row of the table whose conditions hold.
func (n *Node) doTable(c Call) reply {
	rows, nr := rowsByNumber(), c.Nr()
	if nr >= uintptr(len(rows)) {
		return passthrough
	}
	for i := range rows[nr] {
		if e := &rows[nr][i]; e.holds(c, n.Memory) && (n.Direct || !e.Direct) {
			if e.Fail != 0 {
				return fail(e.Fail)
			}
			return e.do(n, c)
		}
	}
	return passthrough
}

// holds reports whether the row's conditions hold for a call. memory says whether those
// of Inside are in use. A handler looks at the paths of ProcNet itself.
func (e *Entry) holds(c Call, memory bool) bool {
	when := e.When
	if memory && len(e.Inside) > 0 {
		when = e.Inside
	}
	for _, w := range when {
		if !w.ProcNet && !w.Holds(c.Uint(int(w.Arg))) {
			return false
		}
	}
	return true
}

// NewTracing returns a Tracing of the calls with the given native numbers, and of the
// calls of the 32-bit ABI with the same meaning.
func NewTracing(t Tracer, show []uintptr, numbers strace.Numbers) *Tracing {
	return &Tracing{Tracer: t, calls: strace.NewTable(show, numbers)}
}

// shows reports whether the Tracer receives calls of a number.
func (t *Tracing) shows(nr uintptr) bool { return t.calls.Shows(nr) }
