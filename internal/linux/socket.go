package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SizeofStorage is the size of struct sockaddr_storage, in bytes: no socket address is
// longer (bits/socket.h).
const SizeofStorage = 128

// Socket is socket(2).
func Socket(domain, typ, protocol int) (int, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(domain), uintptr(typ),
		uintptr(protocol))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// Bind is bind(2) with the bytes of any socket address.
func Bind(fd int, sa []byte) error { return withAddr(unix.SYS_BIND, fd, sa) }

// Connect is connect(2) with the bytes of any socket address. The socket must not be one
// for which connect waits.
func Connect(fd int, sa []byte) error { return withAddr(unix.SYS_CONNECT, fd, sa) }

func withAddr(nr uintptr, fd int, sa []byte) error {
	_, _, errno := unix.RawSyscall(nr, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(sa))), uintptr(len(sa)))
	return errnoOrNil(errno)
}

// Getsockname is getsockname(2), and Getpeername is getpeername(2). They write the
// address to buf and return its full size in bytes, which may be more than buf has. Those
// of package unix allocate.
func Getsockname(fd int, buf []byte) (size int, err error) {
	return name(unix.SYS_GETSOCKNAME, fd, buf)
}

// Getpeername is getpeername(2), see [Getsockname].
func Getpeername(fd int, buf []byte) (size int, err error) {
	return name(unix.SYS_GETPEERNAME, fd, buf)
}

func name(nr uintptr, fd int, buf []byte) (int, error) {
	size := uint32(len(buf))
	_, _, errno := unix.RawSyscall(nr, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, errno
	}
	return int(size), nil
}

// Accept is accept4(2). It writes the peer's address to peer and returns its full size in
// bytes. blocks says that the listener blocks, so that the call may. That of package unix
// allocates.
func Accept(listener int, peer []byte, flags int, blocks bool) (fd, size int, err error) {
	length := uint32(len(peer))
	var r uintptr
	var errno unix.Errno
	if blocks {
		r, _, errno = unix.Syscall6(unix.SYS_ACCEPT4, uintptr(listener),
			uintptr(unsafe.Pointer(unsafe.SliceData(peer))),
			uintptr(unsafe.Pointer(&length)), uintptr(flags), 0, 0)
	} else {
		r, _, errno = unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener),
			uintptr(unsafe.Pointer(unsafe.SliceData(peer))),
			uintptr(unsafe.Pointer(&length)), uintptr(flags), 0, 0)
	}
	if errno != 0 {
		return -1, 0, errno
	}
	return int(r), int(length), nil
}

// Shutdown is shutdown(2).
func Shutdown(fd, how int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
	return errnoOrNil(errno)
}

// Getsockopt is getsockopt(2). It reads the value into b and returns the size that the
// kernel tells, in bytes.
func Getsockopt(fd, level, opt int, b []byte) (size int, err error) {
	length := uint32(len(b))
	err = getsockopt(fd, level, opt, unsafe.Pointer(unsafe.SliceData(b)), &length)
	return int(length), err
}

// GetsockoptInt is getsockopt(2) of an int.
func GetsockoptInt(fd, level, opt int) (int, error) {
	var v int32
	size := uint32(unsafe.Sizeof(v))
	err := getsockopt(fd, level, opt, unsafe.Pointer(&v), &size)
	return int(v), err
}

// GetsockoptUint64 is getsockopt(2) of a 64-bit number, such as SO_COOKIE.
func GetsockoptUint64(fd, level, opt int) (uint64, error) {
	var v uint64
	size := uint32(unsafe.Sizeof(v))
	err := getsockopt(fd, level, opt, unsafe.Pointer(&v), &size)
	return v, err
}

func getsockopt(fd, level, opt int, value unsafe.Pointer, size *uint32) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level),
		uintptr(opt), uintptr(value), uintptr(unsafe.Pointer(size)), 0)
	return errnoOrNil(errno)
}

// Setsockopt is setsockopt(2).
func Setsockopt(fd, level, opt int, b []byte) error {
	return setsockopt(fd, level, opt, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

// SetsockoptInt is setsockopt(2) of an int.
func SetsockoptInt(fd, level, opt, value int) error {
	v := int32(value)
	return setsockopt(fd, level, opt, unsafe.Pointer(&v), unsafe.Sizeof(v))
}

func setsockopt(fd, level, opt int, value unsafe.Pointer, size uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level),
		uintptr(opt), uintptr(value), size, 0)
	return errnoOrNil(errno)
}

// Disconnect dissolves a socket's association with its peer (connect(2), AF_UNSPEC).
func Disconnect(fd int) error { return connectFamily(fd, unix.AF_UNSPEC) }

// FinishConnect fetches the result of a connect that has ended, and starts no new one: it
// calls connect(2) with an address of another family, which is refused where there is no
// result to fetch (__inet_stream_connect in net/ipv4/af_inet.c).
func FinishConnect(fd int) error { return connectFamily(fd, unix.AF_UNIX) }

func connectFamily(fd int, family uint16) error {
	sa := unix.RawSockaddr{Family: family}
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd),
		uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	return errnoOrNil(errno)
}
