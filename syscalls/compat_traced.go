package syscalls

import (
	"maps"
	"slices"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// CompatTraced returns the rows of the 32-bit ABI for the filter of a node that is traced
// from its start. They are the rows of CompatTable, but they trap without conditions the
// calls that mean one of the given native calls. A trace shows such a call under its own
// name, such as mmap2.
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

// tracedCompat returns a tracedCall of a call of the 32-bit ABI.
func (n *Node) tracedCompat(c *compatCall, t *Tracing, s *strace.Signature) *tracedCall {
	return n.beginTraced(c, t, s)
}
