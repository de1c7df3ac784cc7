package syscalls

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Programs of the host's 32-bit ABI, i386 on amd64 and ARM on arm64, make the
// same calls by other numbers, with 32-bit structures. A compatCall presents
// one as the native call that it means; handlers that read structures with
// pointers or lengths in them ask Call.Compat.
type compatCall struct {
	Call
	nr     uintptr // noCall: it has no rows in the table
	key    uintptr // names it in Tracing.compat
	args   [6]uint64
	time64 bool // its struct timespec is the native one
}

// noCall is the number of no call.
const noCall = ^uintptr(0)

// recvmmsgTime64 has a number that is the same on all 32-bit architectures.
const recvmmsgTime64 = 417

// A socketcall is what one of the numbers of socketcall(2) means (linux/net.h).
type socketcall struct {
	nr   uintptr // native
	args int     // how many, of 32 bits each, there are in memory
	name string  // empty: the native one's
	only bool    // trapped for traces only
}

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
	for _, k := range slices.Sorted(maps.Keys(socketcalls)) {
		if !socketcalls[k].only {
			rows = append(rows, socketcallRow(k))
		}
	}
	return rows
}

// socketcallRow traps one of the calls that socketcall(2) has.
func socketcallRow(k uint32) Entry {
	return Entry{Name: "socketcall", Nr: sysSocketcall, Compat: true,
		When: []Condition{{Arg: 0, Equal: k}}}
}

// answerCompat answers a call of the 32-bit ABI.
func (n *Node) answerCompat(c Call) {
	cc, err := presentCompat(c)
	do, shown := (*Node).doTable, Call(cc)
	if t := n.tracing.Load(); t != nil {
		do = (*Node).doTraced
		if s, ok := t.compat[cc.key]; ok {
			shown = n.tracedCompat(cc, t, s)
		}
	}
	if err != nil {
		n.conclude(shown, fail(err))
		return
	}
	n.answer(shown, do)
}

// presentCompat presents a call of the 32-bit ABI as the native one that it means.
func presentCompat(c Call) (*compatCall, error) {
	cc := &compatCall{Call: c, nr: noCall, key: c.Nr()}
	if c.Nr() == sysSocketcall && len(socketcalls) > 0 {
		sub := uint32(c.Uint(0))
		k, ok := socketcalls[sub]
		if !ok {
			return cc, nil
		}
		cc.nr, cc.key = k.nr, socketcallKey(sub)
		var b [6 * 4]byte
		if err := c.ReadMemory(uintptr(uint32(c.Uint(1))), b[:4*k.args]); err != nil {
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

// sizeofCompatCmsghdr is the size of struct compat_cmsghdr in bytes
// (include/net/compat.h); such messages are aligned to four.
const (
	sizeofCompatCmsghdr = 12
	compatCmsgAlign     = 4
)

// controlFor returns control messages, as recvmsg(2) brought them, as the
// program's ABI lays them out (cmsg(3)), cut off at its buffer's end.
func controlFor(c Call, b []byte, room uint64) (out []byte, cut bool) {
	if !c.Compat() {
		return b, false
	}
	for m := range controlMessages(b) {
		size := sizeofCompatCmsghdr + len(m.data)
		if uint64(len(out)+size) > room {
			return out, true
		}
		out = binary.NativeEndian.AppendUint32(out, uint32(size))
		out = append(append(out, m.whole[8:sizeofCmsghdr]...), m.data...)
		for len(out)%compatCmsgAlign != 0 && uint64(len(out)) < room {
			out = append(out, 0)
		}
	}
	return out, false
}

// controlFrom returns control messages that a program sends as the native ABI
// lays them out. What is malformed stays so: the kernel says EINVAL.
func controlFrom(c Call, b []byte) []byte {
	if !c.Compat() {
		return b
	}
	var out []byte
	for len(b) >= sizeofCompatCmsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < sizeofCompatCmsghdr || size > len(b) {
			return append(out, make([]byte, sizeofCmsghdr)...)
		}
		data := b[sizeofCompatCmsghdr:size]
		out = binary.NativeEndian.AppendUint64(out, uint64(sizeofCmsghdr+len(data)))
		out = append(append(out, b[4:sizeofCompatCmsghdr]...), data...)
		for len(out)%cmsgAlign != 0 {
			out = append(out, 0)
		}
		b = b[min((size+compatCmsgAlign-1)&^(compatCmsgAlign-1), len(b)):]
	}
	return out
}

// timespecWord is the size of each half of the struct timespec that a call has.
func timespecWord(c Call) int {
	if t, ok := c.(*tracedCall); ok {
		c = t.Call
	}
	if c, ok := c.(*compatCall); ok && !c.time64 {
		return 4
	}
	return 8
}

func readTimespec(c Call, at uintptr) (sec, nsec int64, err error) {
	var b [16]byte
	w := timespecWord(c)
	if err := c.ReadMemory(at, b[:2*w]); err != nil {
		return 0, 0, err
	}
	if w == 4 {
		return int64(int32(binary.NativeEndian.Uint32(b[:]))),
			int64(int32(binary.NativeEndian.Uint32(b[4:]))), nil
	}
	return int64(binary.NativeEndian.Uint64(b[:])),
		int64(binary.NativeEndian.Uint64(b[8:])), nil
}

func writeTimespec(c Call, at uintptr, sec, nsec int64) error {
	if timespecWord(c) == 4 {
		b := binary.NativeEndian.AppendUint32(nil, uint32(sec))
		return c.WriteMemory(at, binary.NativeEndian.AppendUint32(b, uint32(nsec)))
	}
	b := binary.NativeEndian.AppendUint64(nil, uint64(sec))
	return c.WriteMemory(at, binary.NativeEndian.AppendUint64(b, uint64(nsec)))
}

// A layout is where the fields of struct msghdr and iovec lie, in bytes
// (include/linux/socket.h, include/net/compat.h).
type layout struct {
	word                                                int
	msghdr, mmsghdr, iovec                              int // sizes
	nameLen, iov, iovLen, control, controlLen, msgFlags int // offsets
	ifreq, ifconf, ifconfBuf                            int // sizes, and an offset
}

var (
	nativeLayout = layout{word: 8, msghdr: 56, mmsghdr: 64, iovec: 16, nameLen: 8,
		iov: 16, iovLen: 24, control: 32, controlLen: 40, msgFlags: 48,
		ifreq: 40, ifconf: 16, ifconfBuf: 8}
	compatLayout = layout{word: 4, msghdr: 28, mmsghdr: 32, iovec: 8, nameLen: 4, iov: 8,
		iovLen: 12, control: 16, controlLen: 20, msgFlags: 24,
		ifreq: 32, ifconf: 8, ifconfBuf: 4}
)

func layoutOf(c Call) *layout {
	if c.Compat() {
		return &compatLayout
	}
	return &nativeLayout
}

// wordAt reads a pointer or a size.
func (l *layout) wordAt(b []byte, offset int) uint64 {
	if l.word == 4 {
		return uint64(binary.NativeEndian.Uint32(b[offset:]))
	}
	return binary.NativeEndian.Uint64(b[offset:])
}

// encode encodes one.
func (l *layout) encode(v uint64) []byte {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], v) // both architectures are little endian
	return b[:l.word]
}

// negative reports whether a size has the sign bit of its type, ssize_t.
func (l *layout) negative(v uint64) bool {
	if l.word == 4 {
		return int32(v) < 0
	}
	return int64(v) < 0
}
