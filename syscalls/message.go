package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// layoutOf returns the layout of the structures that a call passes.
func layoutOf(c Call) *abi.Layout {
	if c.Compat() {
		return &abi.Compat
	}
	return &abi.Native
}

// readMsghdr reads the struct msghdr of a message call.
func readMsghdr(c Call, at uintptr) (abi.Msghdr, error) {
	l := layoutOf(c)
	var buf [64]byte
	b := buf[:l.SizeofMsghdr]
	if err := c.ReadMemory(at, b); err != nil {
		return abi.Msghdr{}, err
	}
	return abi.ParseMsghdr(l, at, b), nil
}

// readIovecs reads a message's array of buffers. It fails as the kernel does: EMSGSIZE
// for too many, EINVAL for a length that is negative.
func readIovecs(c Call, m abi.Msghdr) (iov []abi.Iovec, total uint64, err error) {
	if m.Iovlen > abi.MaxIovecs {
		return nil, 0, unix.EMSGSIZE
	}
	l := layoutOf(c)
	b := make([]byte, int(m.Iovlen)*l.SizeofIovec)
	if err := c.ReadMemory(m.Iov, b); err != nil {
		return nil, 0, err
	}
	return abi.ParseIovecs(l, b)
}

// gather reads the contents of a message's buffers into b, and returns their size. It
// fails with EMSGSIZE if b is too small.
func gather(c Call, m abi.Msghdr, b []byte) (int, error) {
	iov, total, err := readIovecs(c, m)
	if err != nil {
		return 0, err
	}
	if total > uint64(len(b)) {
		return 0, unix.EMSGSIZE
	}
	for _, v := range iov {
		if err := c.ReadMemory(v.Base, b[:v.Len]); err != nil {
			return 0, err
		}
		b = b[v.Len:]
	}
	return int(total), nil
}

// maxSentControl bounds the control data of a sent message, in bytes. UDP sockets need
// less.
const maxSentControl = 16384

// readControl reads the control messages that a program sends, in the native layout. It
// fails with ENOBUFS beyond maxSentControl.
func readControl(c Call, m abi.Msghdr) ([]byte, error) {
	if m.Controllen > maxSentControl {
		return nil, unix.ENOBUFS // sendmsg(2) beyond optmem_max
	}
	if m.Controllen == 0 {
		return nil, nil
	}
	b := make([]byte, m.Controllen)
	if err := c.ReadMemory(m.Control, b); err != nil {
		return nil, err
	}
	if c.Compat() {
		b = abi.NativeControl(b)
	}
	return b, nil
}

// controlFor converts received control messages to the layout of the program's ABI, in at
// most room bytes. cut reports whether a message is missing.
func controlFor(c Call, b []byte, room uint64) (out []byte, cut bool) {
	if !c.Compat() {
		return b, false
	}
	return abi.CompatControl(b, room)
}

// scatter writes b to the buffers, as much as fits.
func scatter(c Call, iov []abi.Iovec, b []byte) error {
	for _, v := range iov {
		n := min(uint64(len(b)), v.Len)
		if err := c.WriteMemory(v.Base, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// finishMessage stores what recvmsg(2) changes in the header: the sizes of name and
// control data, and the flags.
func finishMessage(c Call, m abi.Msghdr, nameLen uint32, controlLen uint64, flags int32,
) error {
	l := layoutOf(c)
	var b [4]byte
	if m.Name != 0 {
		binary.NativeEndian.PutUint32(b[:], nameLen)
		if err := c.WriteMemory(m.Addr+uintptr(l.MsgNamelen), b[:]); err != nil {
			return err
		}
	}
	if err := c.WriteMemory(m.Addr+uintptr(l.MsgControllen),
		l.EncodeWord(controlLen)); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(b[:], uint32(flags))
	return c.WriteMemory(m.Addr+uintptr(l.MsgFlags), b[:])
}
