package syscalls

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// Programs of the host's 32-bit ABI, i386 on amd64 and ARM on arm64, make the
// same calls by other numbers, with 32-bit structures. A compatCall presents
// one as the native call that it means; handlers that read structures with
// pointers or lengths in them ask Call.Compat.
type compatCall struct {
	Call
	nr     uintptr // noCall: it has no rows in the table
	key    uintptr // names it in compatCalls
	args   [6]uint64
	time64 bool // its struct timespec is the native one
}

// noCall is the number of no call.
const noCall = ^uintptr(0)

// recvmmsgTime64 has a number that is the same on all 32-bit architectures.
const recvmmsgTime64 = 417

// CompatTable returns the rows for calls of the 32-bit ABI, with its numbers.
// The filter cannot see the arguments of socketcall(2): these rows trap more
// than the native ones.
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

// onlyTraced reports whether one of the calls that socketcall(2) has is trapped for
// traces only: socketpair, recv and shutdown (linux/net.h).
func onlyTraced(k uint32) bool { return k == 8 || k == 10 || k == 13 }

// socketcallRow traps one of the calls that socketcall(2) has.
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

// presentCompat presents a call of the 32-bit ABI as the native one that it means.
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
