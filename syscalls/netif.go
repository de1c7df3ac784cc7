package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// host describes the interfaces of the node to its programs.
func (c *core) host() netif.Host {
	h := netif.Host{Addr: netip.PrefixFrom(c.Addr, c.Prefix.Bits()), IPv6: hasIPv6()}
	if c.Addr6.IsValid() {
		h.Addr6 = netip.PrefixFrom(c.Addr6, c.Prefix6.Bits())
	}
	return h
}

// hasLink reports whether an interface has an index.
func (c *core) hasLink(index uint32) bool {
	_, ok := c.host().LinkByIndex(int32(index))
	return ok
}

// ProcNet returns the contents of files of /proc/net for the node's programs, by name.
func (n *Node) ProcNet() map[string]string { return n.host().ProcNet() }

// SysClassNet returns the contents of the files of /sys/class/net for the node's
// programs, by name.
func (n *Node) SysClassNet() map[string]string { return n.host().SysClassNet() }

// hasIPv6 reports whether the host has [::1].
var hasIPv6 = sync.OnceValue(func() bool {
	fd, err := linux.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer linux.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}) == nil
})
