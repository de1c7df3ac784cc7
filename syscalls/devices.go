package syscalls

import (
	"sync"

	"golang.org/x/sys/unix"
)

// devices are the sockets that a program has bound to the node's interface with
// SO_BINDTODEVICE, by their cookies. The kernel is not told: its interface for
// them is loopback, and what they send to the outside leaves through the host's.
type devices struct {
	mu sync.Mutex
	m  map[uint64]struct{}
}

// maxDevices bounds the table, from which nothing takes a closed socket. Whoever
// is dropped has no device when it asks.
const maxDevices = 1024

func (d *devices) bind(cookie uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m == nil {
		d.m = make(map[uint64]struct{})
	}
	for c := range d.m {
		if len(d.m) < maxDevices {
			break
		}
		delete(d.m, c)
	}
	d.m[cookie] = struct{}{}
}

func (d *devices) unbind(cookie uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, cookie)
}

func (d *devices) bound(cookie uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.m[cookie]
	return ok
}

// setsockopt answers setsockopt(2) for the options of the table.
func (n *Node) setsockopt(c Call) reply {
	switch c.Int(1) {
	case unix.SOL_SOCKET:
		return n.bindToDevice(c)
	case unix.SOL_NETLINK:
		return n.joinGroup(c)
	}
	return n.joinMulticast(c)
}

// bindToDevice answers setsockopt(SOL_SOCKET, SO_BINDTODEVICE), see socket(7).
func (n *Node) bindToDevice(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	domain, _, err := kind(fd)
	if err != nil || !isInet(domain) || c.Int(4) < 0 {
		return letThrough // the kernel says what is wrong
	}
	name := make([]byte, min(c.Int(4), unix.IFNAMSIZ-1))
	if err := c.ReadMemory(c.Ptr(3), name); err != nil {
		return fail(err)
	}
	id, err := cookie(fd)
	if err != nil {
		return fail(err)
	}
	if unix.ByteSliceToString(name) == InterfaceName {
		n.devices.bind(id)
		return reply{}
	}
	n.devices.unbind(id)
	return letThrough
}

// boundDevice answers getsockopt(SOL_SOCKET, SO_BINDTODEVICE), as
// sock_getbindtodevice in net/core/sock.c does.
func (n *Node) boundDevice(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	if id, err := cookie(fd); err != nil || !n.devices.bound(id) {
		return letThrough
	}
	name := append([]byte(InterfaceName), 0)
	return fail(writeOption(c, name, unix.IFNAMSIZ, c.Ptr(3), c.Ptr(4)))
}
