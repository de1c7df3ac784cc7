package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// Tkill sends a signal to a thread (tkill(2)); signal 0 only asks whether it exists.
func Tkill(tid int, sig unix.Signal) error {
	_, _, errno := unix.RawSyscall(unix.SYS_TKILL, uintptr(tid), uintptr(sig), 0)
	return errnoOrNil(errno)
}

// Getppid is getppid(2) where a filter may trap it: it may block, and fail.
func Getppid() (int, error) {
	pid, _, errno := unix.Syscall(unix.SYS_GETPPID, 0, 0, 0)
	return int(pid), errnoOrNil(errno)
}

// SetThreadIDs makes the calling thread, and no other, another user's: its real,
// effective and saved ids (setresuid(2)), without supplementary groups.
func SetThreadIDs(uid, gid int) error {
	u, g := uintptr(uid), uintptr(gid)
	for _, call := range []struct {
		name string
		nr   uintptr
		args [3]uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, [3]uintptr{}},
		{"setresgid", unix.SYS_SETRESGID, [3]uintptr{g, g, g}},
		{"setresuid", unix.SYS_SETRESUID, [3]uintptr{u, u, u}},
	} {
		if _, _, errno := unix.RawSyscall(call.nr, call.args[0], call.args[1],
			call.args[2]); errno != 0 {
			return os.NewSyscallError(call.name, errno)
		}
	}
	return nil
}
