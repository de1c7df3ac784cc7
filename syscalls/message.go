package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func layoutOf(c Call) *layout {
	if c.Compat() {
		return &compatLayout
	}
	return &nativeLayout
}

// readMsghdr reads the struct msghdr of a message call.
func readMsghdr(c Call, at uintptr) (msghdr, error) {
	l := layoutOf(c)
	var buf [64]byte
	b := buf[:l.msghdr]
	if err := c.ReadMemory(at, b); err != nil {
		return msghdr{}, err
	}
	return parseMsghdr(l, at, b), nil
}

// readIovecs reads a message's array of buffers. It fails as the kernel does: EMSGSIZE
// for too many, EINVAL for a length that is negative.
func readIovecs(c Call, m msghdr) (iov []iovec, total uint64, err error) {
	if m.iovLen > maxIovecs {
		return nil, 0, unix.EMSGSIZE
	}
	l := layoutOf(c)
	b := make([]byte, int(m.iovLen)*l.iovec)
	if err := c.ReadMemory(m.iov, b); err != nil {
		return nil, 0, err
	}
	return parseIovecs(l, b)
}

// gather reads what the buffers hold into b, and returns how much that is. It
// fails with EMSGSIZE if that is more than b.
func gather(c Call, m msghdr, b []byte) (int, error) {
	iov, total, err := readIovecs(c, m)
	if err != nil {
		return 0, err
	}
	if total > uint64(len(b)) {
		return 0, unix.EMSGSIZE
	}
	for _, v := range iov {
		if err := c.ReadMemory(v.base, b[:v.len]); err != nil {
			return 0, err
		}
		b = b[v.len:]
	}
	return int(total), nil
}

// maxSentControl bounds the control data of a message that is sent, in bytes:
// it is more than a UDP socket has use for.
const maxSentControl = 16384

// readControl reads the control data that a program sends.
func readControl(c Call, m msghdr) ([]byte, error) {
	if m.controlLen > maxSentControl {
		return nil, unix.ENOBUFS // sendmsg(2) beyond optmem_max
	}
	if m.controlLen == 0 {
		return nil, nil
	}
	b := make([]byte, m.controlLen)
	if err := c.ReadMemory(m.control, b); err != nil {
		return nil, err
	}
	if c.Compat() {
		b = nativeControl(b)
	}
	return b, nil
}

// controlFor returns control messages, as recvmsg(2) brought them, in the layout of the
// program's ABI, in at most room bytes. cut reports whether a message is missing.
func controlFor(c Call, b []byte, room uint64) (out []byte, cut bool) {
	if !c.Compat() {
		return b, false
	}
	return compatControl(b, room)
}

// scatter fills the buffers with b.
func scatter(c Call, iov []iovec, b []byte) error {
	for _, v := range iov {
		n := min(uint64(len(b)), v.len)
		if err := c.WriteMemory(v.base, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// finishMessage writes what recvmsg(2) changes in the header: the lengths of name and
// control data, and the flags.
func finishMessage(c Call, m msghdr, nameLen uint32, controlLen uint64, flags int32,
) error {
	l := layoutOf(c)
	var b [4]byte
	if m.name != 0 {
		binary.NativeEndian.PutUint32(b[:], nameLen)
		if err := c.WriteMemory(m.at+uintptr(l.nameLen), b[:]); err != nil {
			return err
		}
	}
	if err := c.WriteMemory(m.at+uintptr(l.controlLen),
		l.encode(controlLen)); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(b[:], uint32(flags))
	return c.WriteMemory(m.at+uintptr(l.msgFlags), b[:])
}
