package syscalls

import (
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// The node's interface has no IPv6 link-local address, as one of a host with addrgenmode
// none (ip-link(8)), and the network carries none. To the kernel an index of the
// program's interfaces would name an interface of the host: what a program sends to a
// link-local address must not leave there.

// checkLink fails if an address that a socket connects to, or sends to, is an IPv6
// link-local one: such a host has no route to it. The node's resolver stands in for name
// servers that have such an address.
func (c *core) checkLink(dst abi.Sockaddr, connects bool) error {
	a := dst.Addr.Addr()
	switch {
	case !dst.V6 || !a.Is6() || a.Is4In6() || !a.IsLinkLocalUnicast():
		return nil
	case dst.Addr.Port() == dnsPort && c.Resolver != nil && c.Resolver.Serves(a):
		return nil
	case connects && dst.Scope == 0:
		return unix.EINVAL // __ip6_datagram_connect in net/ipv6/datagram.c
	}
	return unix.ENETUNREACH
}
