package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// leastBuffer is the smallest SO_RCVBUF and SO_SNDBUF of a TCP socket, in bytes. Segments
// on loopback have up to 64 KiB. If the window is smaller than two segments, the persist
// timer paces the connection: an SO_RCVBUF of 16 KiB lets 0.16 MB/s through, one of 64
// KiB 1,700 MB/s (measured). On a network, segments have 1,460 bytes and small buffers
// work. Between nodes, the windows of relay and QUIC bound what the program wanted to
// bound.
const leastBuffer = 64 << 10

// The kernel's smallest buffers, SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF of
// include/net/sock.h, as programs see them on 64-bit Linux.
const (
	kernelLeastRcvbuf = 2304
	kernelLeastSndbuf = 4608
)

// setBuffer answers setsockopt(SOL_SOCKET) for SO_RCVBUF and SO_SNDBUF.
func (o *options) setBuffer(c Call) reply {
	var b [4]byte
	if c.Int(4) < len(b) || c.ReadMemory(c.Ptr(3), b[:]) != nil {
		return passthrough // the kernel reports the error
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	domain, typ, err := kind(fd)
	if err != nil || !isInet(domain) || typ != unix.SOCK_STREAM {
		return passthrough
	}
	id, err := cookie(fd)
	if err != nil {
		return fail(err)
	}
	size := int32(binary.NativeEndian.Uint32(b[:]))
	if size < 0 || size >= leastBuffer {
		o.set(optionKey{id, unix.SOL_SOCKET, c.Int(2)}, 0)
		return passthrough
	}
	if err := linux.SetsockoptInt(fd, unix.SOL_SOCKET, c.Int(2),
		leastBuffer); err != nil {
		return fail(err)
	}
	// Linux doubles the value that a program sets, socket(7).
	size = max(2*size, kernelLeastRcvbuf)
	if c.Int(2) == unix.SO_SNDBUF {
		size = max(size, kernelLeastSndbuf)
	}
	o.set(optionKey{id, unix.SOL_SOCKET, c.Int(2)}, size)
	return reply{}
}

// buffer answers getsockopt(SOL_SOCKET) for SO_RCVBUF and SO_SNDBUF.
func (o *options) buffer(c Call) reply {
	if o.empty() {
		return passthrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	id, err := cookie(fd)
	if err != nil {
		return passthrough
	}
	size := o.get(optionKey{id, unix.SOL_SOCKET, c.Int(2)})
	if size == 0 {
		return passthrough
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(size))
	return fail(writeOption(c, b[:], 0, c.Ptr(3), c.Ptr(4)))
}
