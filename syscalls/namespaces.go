package syscalls

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// A namespace is one of the supervisor's namespaces (namespaces(7)).
type namespace struct {
	name string // in /proc/PID/ns
	own  func() unix.Stat_t
}

var (
	networkNamespace = newNamespace("net")
	utsNamespace     = newNamespace("uts")
)

func newNamespace(name string) *namespace {
	return &namespace{name, sync.OnceValue(func() (st unix.Stat_t) {
		unix.Stat("/proc/self/ns/"+name, &st)
		return st
	})}
}

// has reports whether a thread is in the namespace, too. It returns true if that is not
// known, because the thread's program runs as another user.
func (n *namespace) has(tid int) bool {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", tid, n.name), &st); err != nil {
		return true
	}
	own := n.own()
	return st.Dev == own.Dev && st.Ino == own.Ino
}

// sameUser reports whether a thread runs as the supervisor's effective user and group.
// The kernel stores a socket's creator (sk_uid), and lets only sockets of one user share
// a port (SO_REUSEPORT, socket(7)).
func sameUser(tid int) bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d", tid), &st)
	return err == nil && int(st.Uid) == unix.Geteuid() && int(st.Gid) == unix.Getegid()
}
