package syscalls

import (
	"maps"
	"slices"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// Calls of the 32-bit ABI in traces. A call is shown under its own name, such as mmap2,
// where the native call that it means is shown.

// CompatTraced returns the rows of the 32-bit ABI for the filter of a node whose calls
// with the given native numbers are traced from its start: those of CompatTable, with
// these calls in full.
func CompatTraced(shown []uintptr, n strace.Numbers) []Entry {
	calls := strace.CompatCalls(n, shown)
	var rows []Entry
	for _, e := range CompatTable() {
		if s, traced := calls[e.Nr]; !traced || fails(s.Nr) {
			rows = append(rows, e)
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(calls)) {
		if nr < strace.SocketcallKey(0) && !fails(calls[nr].Nr) {
			rows = append(rows, Entry{Nr: nr, Note: "traced", Compat: true})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(abi.Socketcalls)) {
		if _, traced := calls[strace.SocketcallKey(k)]; traced && onlyTraced(k) {
			rows = append(rows, socketcallRow(k))
		}
	}
	return rows
}

// tracedCompat takes down a call of the 32-bit ABI.
func (n *Node) tracedCompat(c *compatCall, t *Tracing, s *strace.Signature) *tracedCall {
	return n.beginTraced(c, t, s)
}
