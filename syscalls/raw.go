package syscalls

import (
	"net/netip"
	"unsafe"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// The calls in this file are those of package unix, for sockets, past the runtime: to
// that they are no system calls, and its monitor is not woken for them, see rawIO. None
// of them blocks.

// closeFD closes a descriptor. The last one of a socket that is told to linger
// (SO_LINGER, socket(7)) blocks: such a close is left to a thread that may.
func closeFD(fd int) error {
	var l unix.Linger
	size := uint32(unsafe.Sizeof(l))
	if err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_LINGER, unsafe.Pointer(&l),
		&size); err == nil && l.Onoff != 0 && l.Linger != 0 {
		return unix.Close(fd)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errnoOrNil(errno)
}

// getsockopt is getsockopt(2).
func getsockopt(fd, level, opt int, value unsafe.Pointer, size *uint32) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level),
		uintptr(opt), uintptr(value), uintptr(unsafe.Pointer(size)), 0)
	return errnoOrNil(errno)
}

// getsockoptInt is getsockopt(2) of an int.
func getsockoptInt(fd, level, opt int) (int, error) {
	var v int32
	size := uint32(unsafe.Sizeof(v))
	err := getsockopt(fd, level, opt, unsafe.Pointer(&v), &size)
	return int(v), err
}

// setsockoptInt is setsockopt(2) of an int.
func setsockoptInt(fd, level, opt, value int) error {
	v := int32(value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level),
		uintptr(opt), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	return errnoOrNil(errno)
}

// fcntl is fcntl(2) with an int.
func fcntl(fd, cmd, arg int) (int, error) {
	r, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), uintptr(cmd),
		uintptr(arg))
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// setNonblock sets or clears O_NONBLOCK, where it has to change.
func setNonblock(fd int, on bool) error {
	old, err := fcntl(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags := old &^ unix.O_NONBLOCK
	if on {
		flags |= unix.O_NONBLOCK
	}
	if flags != old {
		_, err = fcntl(fd, unix.F_SETFL, flags)
	}
	return err
}

// shutdown is shutdown(2).
func shutdown(fd, how int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
	return errnoOrNil(errno)
}

// socket is socket(2).
func socket(domain, typ, protocol int) (int, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(domain), uintptr(typ),
		uintptr(protocol))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// bindTo and connectTo are bind(2) and connect(2) with an address as a socket of the
// given domain takes it, see kernelSockaddr. The socket must not be one that waits to be
// connected.
func bindTo(fd, domain int, addr netip.AddrPort) error {
	return withAddr(unix.SYS_BIND, fd, domain, addr)
}
func connectTo(fd, domain int, addr netip.AddrPort) error {
	return withAddr(unix.SYS_CONNECT, fd, domain, addr)
}

func withAddr(nr uintptr, fd, domain int, addr netip.AddrPort) error {
	var room [abi.SizeofSockaddrInet6]byte
	b := abi.AppendSockaddr(room[:0], abi.Sockaddr{Addr: addr, Six: domain == unix.AF_INET6})
	_, _, errno := unix.RawSyscall(nr, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return errnoOrNil(errno)
}
