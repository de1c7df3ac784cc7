package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// PidfdThread is PIDFD_THREAD of linux/pidfd.h, a flag of pidfd_open(2) since Linux 6.9:
// the descriptor stands for one thread, not for its process.
const PidfdThread = unix.O_EXCL

// HasPidfdThread returns nil if the kernel has PIDFD_THREAD.
func HasPidfdThread() error {
	fd, err := unix.PidfdOpen(unix.Getpid(), PidfdThread)
	if err == nil {
		Close(fd)
	}
	return err
}

// PidfdGetfd is pidfd_getfd(2): a copy of another process's descriptor, which shares the
// open file description. It is closed by execve(2).
func PidfdGetfd(pidfd, fd int) (int, error) {
	got, _, errno := unix.RawSyscall(unix.SYS_PIDFD_GETFD, uintptr(pidfd), uintptr(fd), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(got), nil
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h in its first version, of 64 bytes.
type pidfdInfo struct {
	mask, cgroup                                                      uint64
	pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
	exitCode                                                          int32
}

const (
	pidfdGetInfo  = 0xc040ff0b // PIDFD_GET_INFO for 64 bytes
	pidfdInfoExit = 1 << 3     // PIDFD_INFO_EXIT
)

// PidfdExitStatus returns the status of a process that has ended, also if it has been
// reaped (Linux 6.15). ok is false if the kernel does not tell.
func PidfdExitStatus(pidfd int) (status unix.WaitStatus, ok bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	err := ioctl(uintptr(pidfd), pidfdGetInfo, unsafe.Pointer(&info))
	return unix.WaitStatus(info.exitCode), err == nil && info.mask&pidfdInfoExit != 0
}
