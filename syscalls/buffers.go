package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// leastBuffer is the smallest SO_RCVBUF and SO_SNDBUF of a TCP socket in bytes.
// Loopback's segments have up to 64 KiB, and a window of less than two of them is filled
// by the persist timer: with SO_RCVBUF of 16 KiB, 0.16 MB/s get through, of 64 KiB 1,700
// (measured). On a network, where segments have 1,460 bytes, small buffers work, and what
// a program has bounded by them is bounded by the relay's and QUIC's windows.
const leastBuffer = 64 << 10

// Kernel's least, SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF of include/net/sock.h as
// programs see them on 64-bit Linux.
const (
	kernelLeastRcvbuf = 2304
	kernelLeastSndbuf = 4608
)

// setBuffer answers setsockopt(SOL_SOCKET) for SO_RCVBUF and SO_SNDBUF.
func (n *Node) setBuffer(c Call) reply {
	var b [4]byte
	if c.Int(4) < len(b) || c.ReadMemory(c.Ptr(3), b[:]) != nil {
		return passthrough // the kernel says what is wrong
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
		n.options.set(id, c.Int(2), 0)
		return passthrough
	}
	if err := linux.SetsockoptInt(fd, unix.SOL_SOCKET, c.Int(2),
		leastBuffer); err != nil {
		return fail(err)
	}
	// Linux doubles what is asked for, socket(7).
	size = max(2*size, kernelLeastRcvbuf)
	if c.Int(2) == unix.SO_SNDBUF {
		size = max(size, kernelLeastSndbuf)
	}
	n.options.set(id, c.Int(2), size)
	return reply{}
}

// buffer answers getsockopt(SOL_SOCKET) for SO_RCVBUF and SO_SNDBUF.
func (n *Node) buffer(c Call) reply {
	if n.options.empty() {
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
	size := n.options.get(id, c.Int(2))
	if size == 0 {
		return passthrough
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(size))
	return fail(writeOption(c, b[:], 0, c.Ptr(3), c.Ptr(4)))
}
