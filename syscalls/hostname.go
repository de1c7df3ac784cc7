package syscalls

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// hostname is the hostname that the program has set, if it has.
type hostname struct {
	*Config

	mu   sync.Mutex
	name string
	set  bool
}

// own reports whether the kernel has the right hostname for the caller: its
// UTS namespace is the tree's, or one of its own making (unshare(1), containers).
func (h *hostname) own(c Call) bool {
	return h.OwnUTSNamespace || !utsNamespace.has(c.TID())
}

// uname answers uname(2) with the node's name.
func (h *hostname) uname(c Call) reply {
	if h.own(c) {
		return passthrough
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fail(err)
	}
	clear(u.Nodename[:])
	copy(u.Nodename[:len(u.Nodename)-1], h.current())
	b := make([]byte, 0, 6*len(u.Nodename))
	for _, f := range [][]byte{u.Sysname[:], u.Nodename[:], u.Release[:], u.Version[:],
		u.Machine[:], u.Domainname[:]} {
		b = append(b, f...)
	}
	return fail(c.WriteMemory(c.Ptr(0), b))
}

// current returns the hostname that the program sees.
func (h *hostname) current() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.set {
		return h.name
	}
	return h.Hostname
}

// maxHostname is __NEW_UTS_LEN of the kernel, in bytes.
const maxHostname = 64

// sethostname answers sethostname(2). Neither the machine's hostname nor the node's name
// on the network changes: on a real network, that name is in the name server.
func (h *hostname) sethostname(c Call) reply {
	if h.own(c) {
		return passthrough
	}
	if !mayAdminister(c.TID()) {
		return fail(unix.EPERM)
	}
	size := c.Int(1)
	if size < 0 || size > maxHostname {
		return fail(unix.EINVAL)
	}
	b := make([]byte, size)
	if err := c.ReadMemory(c.Ptr(0), b); err != nil {
		return fail(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.name, h.set = string(b), true
	return reply{}
}

// mayAdminister reports whether a thread has CAP_SYS_ADMIN (capabilities(7)).
func mayAdminister(tid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(status, []byte("\nCapEff:\t"))
	text, _, _ := bytes.Cut(rest, []byte("\n"))
	effective, err := strconv.ParseUint(string(text), 16, 64)
	return err == nil && effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
