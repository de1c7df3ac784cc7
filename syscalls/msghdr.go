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

// parseIovecs reads an array of struct iovec. It fails with EINVAL for a length that is
// negative.
func parseIovecs(l *layout, b []byte) (iov []iovec, total uint64, err error) {
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
