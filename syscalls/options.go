package syscalls

import (
	"sync"

	"golang.org/x/sys/unix"
)

// options are values of SOL_SOCKET options that programs have set and that the kernel
// does not have, by the socket's cookie and the option's number. 0 means that there is
// none.
type options struct {
	mu sync.Mutex
	m  map[optionKey]int32
}

type optionKey struct {
	cookie uint64
	option int
}

// maxOptions bounds the table, whose entries outlive their sockets. After an entry is
// dropped, programs see the kernel's value.
const maxOptions = 4096

func (o *options) set(cookie uint64, option int, value int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := optionKey{cookie, option}
	if value == 0 {
		delete(o.m, key)
		return
	}
	if o.m == nil {
		o.m = make(map[optionKey]int32)
	}
	for old := range o.m { // in random order
		if len(o.m) < maxOptions {
			break
		}
		delete(o.m, old)
	}
	o.m[key] = value
}

func (o *options) get(cookie uint64, option int) int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.m[optionKey{cookie, option}]
}

func (o *options) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.m) == 0
}

// setsockopt answers setsockopt(2) for the options in the table of calls.
func (n *Node) setsockopt(c Call) reply {
	switch c.Int(1) {
	case unix.SOL_SOCKET:
		if c.Int(2) == unix.SO_BINDTODEVICE {
			return n.options.bindToDevice(c)
		}
		return n.options.setBuffer(c)
	case unix.SOL_NETLINK:
		return n.netlinks.joinGroup(c)
	case unix.IPPROTO_IPV6:
		if c.Int(2) == unix.IPV6_RECVERR {
			return n.udp.receiveErrors(c)
		}
	}
	return n.udp.joinMulticast(c)
}

// getsockopt answers getsockopt(2) for the options in the table of calls.
func (n *Node) getsockopt(c Call) reply {
	switch level, name := c.Int(1), c.Int(2); {
	case level == unix.IPPROTO_IP && name == unix.IP_MTU, level == unix.IPPROTO_IPV6 &&
		name == unix.IPV6_MTU:
		return n.udp.mtu(c)
	case level == unix.IPPROTO_IPV6:
		return n.v6Only(c)
	}
	switch c.Int(2) {
	case unix.SO_ERROR:
		return n.socketError(c)
	case unix.SO_BINDTODEVICE:
		return n.options.boundDevice(c)
	case unix.SO_PROTOCOL:
		return n.udp.protocol(c)
	}
	return n.options.buffer(c)
}
