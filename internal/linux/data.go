package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read is read(2) on a descriptor that does not block.
func Read(fd int, b []byte) (int, error) { return transfer(unix.SYS_READ, fd, b) }

// Write is write(2) on a descriptor that does not block.
func Write(fd int, b []byte) (int, error) { return transfer(unix.SYS_WRITE, fd, b) }

func transfer(nr uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(nr, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Sendto is sendto(2) with the bytes of any socket address; none if to is empty. It
// blocks where the socket does.
func Sendto(fd int, b []byte, flags int, to []byte) (int, error) {
	if len(to) == 0 {
		to = nil // or else the kernel would read an address that is too short
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags),
		uintptr(unsafe.Pointer(unsafe.SliceData(to))), uintptr(len(to)))
	return int(n), errnoOrNil(errno)
}

// Recvmsg is recvmsg(2) without control messages. It writes the data to b and the
// sender's address to from, and returns how many bytes of each it has written, and the
// message's flags. It blocks where the socket does.
func Recvmsg(fd int, b, from []byte, flags int) (n, size, rflags int, err error) {
	iov := unix.Iovec{Base: unsafe.SliceData(b)}
	iov.SetLen(len(b))
	m := unix.Msghdr{Name: unsafe.SliceData(from), Namelen: uint32(len(from)),
		Iov: &iov, Iovlen: 1}
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&m)), uintptr(flags))
	if errno != 0 {
		return 0, 0, 0, errno
	}
	return int(r), min(int(m.Namelen), len(from)), int(m.Flags), nil
}
