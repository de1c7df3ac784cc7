package launcher

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls"
)

// namespaces says which namespaces the program has of its own.
type namespaces struct {
	named   bool // a UTS namespace (uts_namespaces(7)), and boxer may name it
	mounted bool // a mount namespace (mount_namespaces(7))
}

// inOwnNamespaces calls f on a thread that is in namespaces of its own, as what f starts
// is then, too. There the program's host has the node's name, in
// /proc/sys/kernel/hostname as from uname(2), and the machine's does not change; and
// /proc/net shows the node's interfaces, see coverProcNet. It takes CAP_SYS_ADMIN, and no
// filter against it, such as systemd's ProtectHostname has. Without, f is called all the
// same.
func inOwnNamespaces(f func() error) (h namespaces, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread with the goroutine. The first
		// thread it would park, and /proc/PID/ns would show its namespace as the
		// process's.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			h, err = inOwnNamespaces(f)
			runtime.UnlockOSThread()
			return
		}
		h = namespaces{named: canName(), mounted: unix.Unshare(unix.CLONE_NEWNS) == nil}
		err = f()
	}()
	<-done
	return h, err
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
// need: the kernel knows its name, and has its files.
func trapped(rows []syscalls.Entry, own namespaces) []syscalls.Entry {
	kept := rows[:0:0]
	for _, e := range rows {
		if !(e.Hostname && own.named || e.Mounts && own.mounted) {
			kept = append(kept, e)
		}
	}
	return kept
}
