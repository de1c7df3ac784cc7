package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Close closes a descriptor. It blocks if the descriptor is the last one of a socket with
// SO_LINGER (socket(7)), and not otherwise.
func Close(fd int) error {
	var l unix.Linger
	size := uint32(unsafe.Sizeof(l))
	err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_LINGER, unsafe.Pointer(&l), &size)
	if err == nil && l.Onoff != 0 && l.Linger != 0 {
		return unix.Close(fd)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errnoOrNil(errno)
}

// Fcntl is fcntl(2) with an int. It must not be a command that waits, such as F_SETLKW.
func Fcntl(fd, cmd, arg int) (int, error) {
	r, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), uintptr(cmd),
		uintptr(arg))
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// SetNonblock sets or clears O_NONBLOCK, if it has another value.
func SetNonblock(fd int, on bool) error {
	old, err := Fcntl(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags := old &^ unix.O_NONBLOCK
	if on {
		flags |= unix.O_NONBLOCK
	}
	if flags != old {
		_, err = Fcntl(fd, unix.F_SETFL, flags)
	}
	return err
}

func errnoOrNil(e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

// ioctl is ioctl(2) with a pointer, of a request that does not block.
func ioctl(fd, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
	return errnoOrNil(errno)
}
