package launcher

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// inheritedFDs returns the descriptors from 3 on that this process inherited for the
// program: those without the close-on-exec flag, which Go sets on every descriptor that
// it opens.
func inheritedFDs() []int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // without /proc, this process keeps them open until it ends
	}
	var fds []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil &&
			flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

// closeAll closes descriptors that the program has inherited. When the program closes a
// pipe or a listener, no other process may keep it open.
func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// CloseInherited closes the descriptors from 3 on that this process was started with.
// It is for processes that outlive their parent: a service's sockets must not stay open
// in them.
func CloseInherited() { closeAll(inheritedFDs()) }
