package launcher

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls"
)

// inOwnHost calls f on a thread that is in a UTS namespace of its own
// (uts_namespaces(7)), as what f starts is then, too: there the program's host has
// the node's name, in /proc/sys/kernel/hostname as from uname(2), and the machine's
// does not change. named reports whether that is so, and the name can be set. It takes CAP_SYS_ADMIN,
// and no filter against it, such as systemd's ProtectHostname has. Without, f is called all the same.
func inOwnHost(f func() error) (named bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread with the goroutine. The first thread it
		// would park, and /proc/PID/ns would show its namespace as the process's.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			named, err = inOwnHost(f)
			runtime.UnlockOSThread()
			return
		}
		named = canName()
		err = f()
	}()
	<-done
	return named, err
}

// canName gives the calling thread a host of its own, and tries to name it.
func canName() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil || unix.Unshare(unix.CLONE_NEWUTS) != nil {
		return false
	}
	return unix.Sethostname([]byte(unix.ByteSliceToString(u.Nodename[:]))) == nil
}

// trapped takes out of the rows those that a program with a host of its own does not
// need: the kernel knows its name.
func trapped(rows []syscalls.Entry, ownHost bool) []syscalls.Entry {
	kept := rows[:0:0]
	for _, e := range rows {
		if !e.Hostname || !ownHost {
			kept = append(kept, e)
		}
	}
	return kept
}
