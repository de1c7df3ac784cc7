package launcher

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls"
)

// namespaces says which namespaces the program has to itself.
type namespaces struct {
	named   bool // a UTS namespace (uts_namespaces(7)), and boxer may name it
	mounted bool // a mount namespace (mount_namespaces(7))
}

// inOwnNamespaces calls f on a thread with its own UTS and mount namespace. Processes
// that f starts inherit them. There, the hostname is the node's name, in
// /proc/sys/kernel/hostname as in uname(2), while the machine keeps its own; and
// /proc/net shows the node's interfaces, see coverProcNet. This takes CAP_SYS_ADMIN, and
// no filter that forbids it, such as systemd's ProtectHostname. Without them,
// inOwnNamespaces calls f all the same.
func inOwnNamespaces(f func() error) (h namespaces, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is never unlocked, so the runtime ends it with the goroutine. The
		// runtime would not end the process's first thread, and /proc/PID/ns would then
		// show that thread's namespaces as the process's.
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

// canName gives the calling thread its own UTS namespace and tries to set the hostname
// there.
func canName() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil || unix.Unshare(unix.CLONE_NEWUTS) != nil {
		return false
	}
	return unix.Sethostname([]byte(unix.ByteSliceToString(u.Nodename[:]))) == nil
}

// trapped removes the rows that the program's own namespaces make unnecessary: there the
// kernel itself has the node's name.
func trapped(rows []syscalls.Entry, own namespaces) []syscalls.Entry {
	kept := rows[:0:0]
	for _, e := range rows {
		if !(e.Hostname && own.named) {
			kept = append(kept, e)
		}
	}
	return kept
}
