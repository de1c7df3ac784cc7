package syscalls

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// A compatCall presents a call of the host's 32-bit ABI (i386 on amd64, ARM on arm64) as
// the native call with the same meaning. The 32-bit ABI has other numbers, and other
// layouts of structures that hold pointers or sizes. Handlers that read such structures
// ask Call.Compat.
type compatCall struct {
	Call
	nr     uintptr // noCall: the table has no row for it
	key    uintptr // its key in strace.CompatCalls
	args   [6]uint64
	time64 bool // struct timespec is the native one
}

// noCall is the number of no call.
const noCall = ^uintptr(0)

// recvmmsgTime64 is the number of recvmmsg_time64 in all 32-bit ABIs.
const recvmmsgTime64 = 417

// CompatTable returns the rows for calls of the 32-bit ABI, with its numbers. The filter
// cannot see the arguments of socketcall(2), which lie in memory. So these rows trap more
// calls than the native rows do.
func CompatTable() []Entry {
	var rows []Entry
	for _, nr := range slices.Sorted(maps.Keys(compatNumbers)) {
		for _, e := range table {
			if e.Nr == compatNumbers[nr] {
				e.Nr, e.Compat = nr, true
				rows = append(rows, e)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(abi.Socketcalls)) {
		if !onlyTraced(k) {
			rows = append(rows, socketcallRow(k))
		}
	}
	return rows
}

// onlyTraced reports whether the call that socketcall(2) makes for its first argument k
// is trapped for traces only: socketpair, recv and shutdown (linux/net.h).
func onlyTraced(k uint32) bool { return k == 8 || k == 10 || k == 13 }

// socketcallRow returns the row that traps the call that socketcall(2) makes for k.
func socketcallRow(k uint32) Entry {
	return Entry{Name: "socketcall", Nr: abi.SysSocketcall, Compat: true,
		When: []Condition{{Arg: 0, Equal: k}}}
}

// answerCompat answers a call of the 32-bit ABI.
func (n *Node) answerCompat(c Call) {
	cc, err := presentCompat(c)
	do, shown := (*Node).doTable, Call(cc)
	if t := n.tracing.Load(); t != nil {
		do = (*Node).doTraced
		if s, ok := t.calls.Compat(cc.key); ok {
			shown = n.tracedCompat(cc, t, s)
		}
	}
	if err != nil {
		n.respond(shown, fail(err))
		return
	}
	n.dispatch(shown, do)
}

// presentCompat returns the compatCall of a call of the 32-bit ABI. It fails if it cannot
// read the arguments of socketcall(2).
func presentCompat(c Call) (*compatCall, error) {
	cc := &compatCall{Call: c, nr: noCall, key: c.Nr()}
	if c.Nr() == abi.SysSocketcall && len(abi.Socketcalls) > 0 {
		sub := uint32(c.Uint(0))
		k, ok := abi.Socketcalls[sub]
		if !ok {
			return cc, nil
		}
		cc.nr, cc.key = k.Nr, strace.SocketcallKey(sub)
		var b [6 * 4]byte
		if err := c.ReadMemory(uintptr(uint32(c.Uint(1))), b[:4*k.Args]); err != nil {
			return cc, err
		}
		for i := range cc.args {
			cc.args[i] = uint64(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return cc, nil
	}
	if nr, ok := compatNumbers[c.Nr()]; ok {
		cc.nr, cc.time64 = nr, c.Nr() == recvmmsgTime64
	}
	for i := range cc.args {
		cc.args[i] = uint64(uint32(c.Uint(i)))
	}
	return cc, nil
}

func (c *compatCall) Nr() uintptr       { return c.nr }
func (c *compatCall) Int(i int) int     { return int(int32(c.args[i])) }
func (c *compatCall) Uint(i int) uint64 { return c.args[i] }
func (c *compatCall) Ptr(i int) uintptr { return uintptr(c.args[i]) }

func (c *compatCall) Keep() Call {
	k := *c
	k.Call = c.Call.Keep()
	return &k
}
