package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes in bytes of struct msghdr, mmsghdr and iovec on 64-bit Linux
// (include/linux/socket.h, recvmmsg(2)), and UIO_MAXIOV.
const (
	sizeofMsghdr  = 56
	sizeofMmsghdr = 64
	sizeofIovec   = 16
	maxIovecs     = 1024
)

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
	var b [sizeofMsghdr]byte
	if err := c.ReadMemory(at, b[:]); err != nil {
		return msghdr{}, err
	}
	u64 := func(off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }
	return msghdr{
		at: at, name: uintptr(u64(0)), nameLen: binary.NativeEndian.Uint32(b[8:]),
		iov: uintptr(u64(16)), iovLen: u64(24),
		control: uintptr(u64(32)), controlLen: u64(40),
	}, nil
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
	b := make([]byte, m.iovLen*sizeofIovec)
	if err := c.ReadMemory(m.iov, b); err != nil {
		return nil, 0, err
	}
	for ; len(b) > 0; b = b[sizeofIovec:] {
		v := iovec{uintptr(binary.NativeEndian.Uint64(b)), binary.NativeEndian.Uint64(b[8:])}
		if int64(v.len) < 0 || total+v.len < total {
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
	return b, c.ReadMemory(m.control, b)
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
	var b [8]byte
	if m.name != 0 {
		binary.NativeEndian.PutUint32(b[:], nameLen)
		if err := c.WriteMemory(m.at+8, b[:4]); err != nil {
			return err
		}
	}
	binary.NativeEndian.PutUint64(b[:], controlLen)
	if err := c.WriteMemory(m.at+40, b[:]); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(b[:], uint32(flags))
	return c.WriteMemory(m.at+48, b[:4])
}
