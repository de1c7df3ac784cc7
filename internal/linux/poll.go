package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poll returns which of events hold for a descriptor, without waiting (ppoll(2)).
func Poll(fd int, events int16) (int16, error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	for {
		var now unix.Timespec
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
			uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != unix.EINTR { // a signal was pending, do_poll in fs/select.c
			return p.Revents, errnoOrNil(errno)
		}
	}
}
