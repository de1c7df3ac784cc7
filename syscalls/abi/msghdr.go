package abi

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// MaxIovecs is the largest number of buffers in one call: UIO_MAXIOV of linux/uio.h.
const MaxIovecs = 1024

// A Msghdr is struct msghdr of recvmsg(2). Its pointers are addresses in the program's
// memory.
type Msghdr struct {
	Addr       uintptr // of the structure itself
	Name       uintptr
	Namelen    uint32
	Iov        uintptr
	Iovlen     uint64
	Control    uintptr
	Controllen uint64
}

// ParseMsghdr reads a struct msghdr that lies at an address of the program's memory. b
// has at least l.SizeofMsghdr bytes.
func ParseMsghdr(l *Layout, at uintptr, b []byte) Msghdr {
	return Msghdr{
		Addr: at, Name: uintptr(l.WordAt(b, 0)),
		Namelen: binary.NativeEndian.Uint32(b[l.MsgNamelen:]),
		Iov:     uintptr(l.WordAt(b, l.MsgIov)), Iovlen: l.WordAt(b, l.MsgIovlen),
		Control:    uintptr(l.WordAt(b, l.MsgControl)),
		Controllen: l.WordAt(b, l.MsgControllen),
	}
}

// An Iovec is struct iovec of readv(2).
type Iovec struct {
	Base uintptr
	Len  uint64
}

// ParseIovecs reads an array of struct iovec. The size of b is a multiple of
// l.SizeofIovec. total is the sum of the lengths in bytes. ParseIovecs fails with EINVAL
// for a negative length, as the kernel does (lib/iov_iter.c), and if the sum overflows.
func ParseIovecs(l *Layout, b []byte) (iov []Iovec, total uint64, err error) {
	for ; len(b) > 0; b = b[l.SizeofIovec:] {
		v := Iovec{uintptr(l.WordAt(b, 0)), l.WordAt(b, l.Word)}
		if l.negative(v.Len) || total+v.Len < total {
			return nil, 0, unix.EINVAL
		}
		total += v.Len
		iov = append(iov, v)
	}
	return iov, total, nil
}
