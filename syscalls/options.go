package syscalls

import (
	"sync"

	"golang.org/x/sys/unix"
)

// options are values of socket options that programs have set and that the kernel does
// not have, by the socket's cookie and the option's level and name. 0 means that there is
// none.
type options struct {
	mu sync.Mutex
	m  map[optionKey]int32
}

type optionKey struct {
	cookie      uint64
	level, name int
}

// maxOptions bounds the table, whose entries outlive their sockets. After an entry is
// dropped, programs see the kernel's value.
const maxOptions = 4096

func (o *options) set(key optionKey, value int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
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

func (o *options) get(key optionKey) int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.m[key]
}

func (o *options) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.m) == 0
}

// setsockopt answers setsockopt(2) for the options in the table of calls.
func (n *Node) setsockopt(c Call) reply {
	if _, ok := ipOptions[ipOption{c.Int(1), c.Int(2)}]; ok {
		return n.chooseIPField(c)
	}
	switch c.Int(1) {
	case unix.SOL_SOCKET:
		if c.Int(2) == unix.SO_BINDTODEVICE {
			return n.options.bindToDevice(c)
		}
		return n.options.setBuffer(c)
	case unix.SOL_NETLINK:
		return n.netlinks.joinGroup(c)
	case unix.IPPROTO_IPV6:
		switch c.Int(2) {
		case unix.IPV6_RECVERR:
			return n.udp.receiveErrors(c)
		case unix.IPV6_MTU_DISCOVER:
			return n.discoverPaths(c)
		case unix.IPV6_MULTICAST_IF, unix.IPV6_UNICAST_IF:
			return n.options.chooseInterface(c)
		}
	case unix.IPPROTO_IP:
		switch c.Int(2) {
		case unix.IP_MTU_DISCOVER:
			return n.discoverPaths(c)
		case unix.IP_MULTICAST_IF:
			return n.udp.multicastInterface(c)
		case unix.IP_UNICAST_IF:
			return n.options.chooseInterface(c)
		}
	}
	return n.udp.joinMulticast(c)
}

// getsockopt answers getsockopt(2) for the options in the table of calls.
func (n *Node) getsockopt(c Call) reply {
	switch level, name := c.Int(1), c.Int(2); {
	case level == unix.IPPROTO_IP && name == unix.IP_MTU, level == unix.IPPROTO_IPV6 &&
		name == unix.IPV6_MTU:
		return n.mtu(c)
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_V6ONLY:
		return n.v6Only(c)
	case level == unix.IPPROTO_IPV6, level == unix.IPPROTO_IP:
		return n.options.chosenInterface(c)
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
