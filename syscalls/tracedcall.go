package syscalls

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// Ends are the two ends of a connection as the program sees them. A trace finds the
// connection of a call by them.
type Ends struct {
	Local, Remote netip.AddrPort
	SameHost      bool // the kernel carries the connection to a node on this host
}

// A tracedCall stands between a call and its handler, and stores what passes in a Record.
// The handler does not know of it.
type tracedCall struct {
	Call
	Record
	node  *Node
	t     *Tracing
	waits time.Time // when Keep was called; zero: not yet
}

// callIDs is the ID of the last traced call.
var callIDs atomic.Uint64

func (n *Node) traced(c Call, t *Tracing) *tracedCall {
	return n.beginTraced(c, t, t.calls.Native(c.Nr()))
}

// beginTraced returns a tracedCall of a call that has a signature.
func (n *Node) beginTraced(c Call, t *Tracing, sig *strace.Signature) *tracedCall {
	tc := tracedCalls.Get().(*tracedCall)
	tc.Call, tc.node, tc.t, tc.waits = c, n, t, time.Time{}
	r := &tc.Record
	r.ID, r.TID, r.Start = callIDs.Add(1), c.TID(), time.Now()
	var args [6]uint64
	for i := range args {
		args[i] = c.Uint(i)
	}
	r.Begin(sig, args, t.Bytes)
	return tc
}

// TID implements Call.
func (c *tracedCall) TID() int { return c.Call.TID() }

// Nr implements Call.
func (c *tracedCall) Nr() uintptr { return c.Call.Nr() }

// ReadMemory implements Call.
func (c *tracedCall) ReadMemory(addr uintptr, b []byte) error {
	err := c.Call.ReadMemory(addr, b)
	if err == nil {
		c.NoteMemory(addr, b, false)
	}
	return err
}

// WriteMemory implements Call.
func (c *tracedCall) WriteMemory(addr uintptr, b []byte) error {
	err := c.Call.WriteMemory(addr, b)
	if err == nil {
		c.NoteMemory(addr, b, true)
	}
	return err
}

// WriteMemoryv implements Call.
func (c *tracedCall) WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr,
	b2 []byte) error {
	err := c.Call.WriteMemoryv(addr1, b1, addr2, b2)
	if err == nil {
		c.NoteMemory(addr1, b1, true)
		c.NoteMemory(addr2, b2, true)
	}
	return err
}

// CopyFD implements Call.
func (c *tracedCall) CopyFD(fd int) (int, error) {
	got, err := c.Call.CopyFD(fd)
	if err == nil && c.t.FDs {
		c.describeFD(fd, got)
	}
	return got, err
}

// Return implements Call.
func (c *tracedCall) Return(v uintptr) error {
	c.complete()
	return c.answered(strace.Returned, int64(v), 0, c.Call.Return(v))
}

// Fail implements Call.
func (c *tracedCall) Fail(errno unix.Errno) error {
	c.complete()
	return c.answered(strace.FailedBy, -1, errno, c.Call.Fail(errno))
}

// Continue implements Call.
func (c *tracedCall) Continue() error {
	c.complete()
	outcome := strace.Continued
	if c.Errno != 0 { // respond knows how the kernel will fail it
		outcome = strace.FailedBy
	}
	return c.answered(outcome, -1, c.Errno, c.Call.Continue())
}

// InstallFD implements Call. After an error the call still needs an answer.
func (c *tracedCall) InstallFD(fd int, cloexec bool) (int, error) {
	c.complete()
	got, err := c.Call.InstallFD(fd, cloexec)
	if err == nil && c.t.FDs {
		c.describeFD(got, fd)
	}
	return got, c.answered(strace.Returned, int64(got), 0, err)
}

// answered stores the answer. err is the result of giving it: the call may have ended.
func (c *tracedCall) answered(o strace.Outcome, v int64, errno unix.Errno,
	err error) error {
	c.Outcome, c.Value, c.Errno = o, v, errno
	if err != nil {
		c.Outcome = strace.Ended
	}
	return err
}

// Keep implements Call. The call begins to wait.
func (c *tracedCall) Keep() Call {
	c.complete()
	c.Call = c.Call.Keep()
	c.waits = time.Now()
	copied := tracedCalls.Get().(*tracedCall)
	own, s := copied.owner, copied.Syscall
	copied.Record = c.Record
	copied.owner, copied.Syscall = own, s
	copied.Syscall.CopyFrom(&c.Syscall)
	c.t.Tracer.Called(&copied.Record)
	return c
}

// finish gives the Record to the Tracer. The call is answered, and c must not be used any
// more.
func (c *tracedCall) finish() { c.t.Tracer.Called(&c.Record) }

// complete stores memory that the trace shows and the handler did not read. It runs
// before the answer, while the program's thread waits. Later the memory may have changed,
// and the thread's next call may have begun.
func (c *tracedCall) complete() {
	now := time.Now()
	c.Took = now.Sub(c.Start)
	if !c.waits.IsZero() {
		c.Network = now.Sub(c.waits)
	}
	c.FetchArgs(c.Call)
	if fd, ok := c.MainFD(); ok && c.t.FDs {
		c.describeArg(fd)
	}
}
