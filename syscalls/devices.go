package syscalls

import (
	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// bindToDevice answers setsockopt(2) with SO_BINDTODEVICE (socket(7)). The kernel does
// not learn of the node's interface. For the kernel the socket uses loopback, and what it
// sends to the outside leaves through an interface of the host.
func (o *options) bindToDevice(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	domain, _, err := kind(fd)
	if err != nil || !isInet(domain) || c.Int(4) < 0 {
		return passthrough // the kernel says what is wrong
	}
	name := make([]byte, min(c.Int(4), unix.IFNAMSIZ-1))
	if err := c.ReadMemory(c.Ptr(3), name); err != nil {
		return fail(err)
	}
	id, err := cookie(fd)
	if err != nil {
		return fail(err)
	}
	if unix.ByteSliceToString(name) == netif.InterfaceName {
		o.set(optionKey{id, unix.SOL_SOCKET, unix.SO_BINDTODEVICE},
			netif.InterfaceIndex)
		return reply{}
	}
	o.set(optionKey{id, unix.SOL_SOCKET, unix.SO_BINDTODEVICE}, 0)
	return passthrough
}

// boundDevice answers getsockopt(2) with SO_BINDTODEVICE, as sock_getbindtodevice of
// net/core/sock.c does.
func (o *options) boundDevice(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	if id, err := cookie(fd); err != nil ||
		o.get(optionKey{id, unix.SOL_SOCKET, unix.SO_BINDTODEVICE}) == 0 {
		return passthrough
	}
	name := append([]byte(netif.InterfaceName), 0)
	return fail(writeOption(c, name, unix.IFNAMSIZ, c.Ptr(3), c.Ptr(4)))
}
