package syscalls

import (
	"encoding/binary"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// Executed passes an execve(2) to the tracer that the node has not taken: that of the
// program itself, where the calls of boxer-init are not taken (Abilities.Starting). It
// has succeeded. start is a time before the program's first call.
func (n *Node) Executed(pid int, start time.Time, path string, argv, env []string) {
	t := n.tracing.Load()
	if t == nil {
		return
	}
	sig := t.calls.Native(unix.SYS_EXECVE)
	if sig == nil {
		sig = strace.NewTable([]uintptr{unix.SYS_EXECVE}, strace.Numbers{
			Native: map[string]uintptr{"execve": unix.SYS_EXECVE}}).Native(unix.SYS_EXECVE)
	}
	c := tracedCalls.Get().(*tracedCall)
	c.Call, c.node, c.t, c.waits = nil, n, t, time.Time{}
	var m builtMemory
	args := [6]uint64{m.text(path), m.list(argv), m.list(env)}
	r := &c.Record
	r.ID, r.TID, r.Start, r.Took = callIDs.Add(1), pid, start, time.Since(start)
	r.Begin(sig, args, t.Bytes)
	r.FetchArgs(&m)
	r.Outcome = strace.Returned
	t.Tracer.Called(r)
}

// A builtMemory is memory of no process.
type builtMemory struct{ b []byte }

// builtAt is the address of a builtMemory.
const builtAt = 0x7ffe00000000

// text adds a string that ends with a zero, and returns its address.
func (m *builtMemory) text(s string) uint64 {
	at := builtAt + len(m.b)
	m.b = append(append(m.b, s...), 0)
	return uint64(at)
}

// list adds an array of strings that ends with NULL, and returns its address.
func (m *builtMemory) list(texts []string) uint64 {
	var words []byte
	for _, s := range texts {
		words = binary.NativeEndian.AppendUint64(words, m.text(s))
	}
	m.b = append(m.b, make([]byte, -len(m.b)&7)...)
	at := builtAt + len(m.b)
	m.b = append(append(m.b, words...), make([]byte, 8)...)
	return uint64(at)
}

// ReadMemory implements strace.Memory. Behind the end there are zeros.
func (m *builtMemory) ReadMemory(addr uintptr, b []byte) error {
	if addr < builtAt || addr > builtAt+uintptr(len(m.b)) {
		return unix.EFAULT
	}
	clear(b[copy(b, m.b[addr-builtAt:]):])
	return nil
}
