package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// maxIovecs is UIO_MAXIOV of linux/uio.h.
const maxIovecs = 1024

// A msghdr is struct msghdr in a program's memory: see recvmsg(2).
type msghdr struct {
	at         uintptr // where it lies
	name       uintptr
	nameLen    uint32
	iov        uintptr
	iovLen     uint64
	control    uintptr
	controlLen uint64
}

func readMsghdr(c Call, at uintptr) (msghdr, error) {
	l := layoutOf(c)
	var buf [64]byte
	b := buf[:l.msghdr]
	if err := c.ReadMemory(at, b); err != nil {
		return msghdr{}, err
	}
	return parseMsghdr(l, at, b), nil
}

// parseMsghdr reads a struct msghdr that lies at an address.
func parseMsghdr(l *layout, at uintptr, b []byte) msghdr {
	return msghdr{
		at: at, name: uintptr(l.wordAt(b, 0)),
		nameLen: binary.NativeEndian.Uint32(b[l.nameLen:]),
		iov:     uintptr(l.wordAt(b, l.iov)), iovLen: l.wordAt(b, l.iovLen),
		control: uintptr(l.wordAt(b, l.control)), controlLen: l.wordAt(b, l.controlLen),
	}
}

// An iovec is struct iovec: see readv(2).
type iovec struct {
	base uintptr
	len  uint64
}

// iovecs reads the buffers. It fails as the kernel does: EMSGSIZE for too many,
// EINVAL for a length that is negative.
func (m msghdr) iovecs(c Call) (iov []iovec, total uint64, err error) {
	if m.iovLen > maxIovecs {
		return nil, 0, unix.EMSGSIZE
	}
	l := layoutOf(c)
	b := make([]byte, int(m.iovLen)*l.iovec)
	if err := c.ReadMemory(m.iov, b); err != nil {
		return nil, 0, err
	}
	for ; len(b) > 0; b = b[l.iovec:] {
		v := iovec{uintptr(l.wordAt(b, 0)), l.wordAt(b, l.word)}
		if l.negative(v.len) || total+v.len < total {
			return nil, 0, unix.EINVAL
		}
		total += v.len
		iov = append(iov, v)
	}
	return iov, total, nil
}

// gather reads what the buffers hold into b, and returns how much that is. It
// fails with EMSGSIZE if that is more than b.
func (m msghdr) gather(c Call, b []byte) (int, error) {
	iov, total, err := m.iovecs(c)
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
func (m msghdr) readControl(c Call) ([]byte, error) {
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
	return controlFrom(c, b), nil
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

// finish writes what recvmsg(2) changes in the header: the lengths of name and
// control data, and the flags.
func (m msghdr) finish(c Call, nameLen uint32, controlLen uint64, flags int32) error {
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
