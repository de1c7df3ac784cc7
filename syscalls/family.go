package syscalls

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Every node has an IPv4 and an IPv6 address, and its name has both, wherever its
// programs listen. On an ordinary network, an AAAA record says that the server accepts
// IPv6. Boxer cannot know that, because a name has no port. Many servers listen on
// 0.0.0.0 only, and some clients try only the IPv6 address for which they have asked
// first. Between two nodes, the network therefore translates as a stateless translator
// does (RFC 7915): if no socket has a port over IPv6, the socket that has it over IPv4
// gets the connection or datagram, from the sender's IPv4 address. The sender sees the
// IPv6 address that it used. Linux would refuse. A node's own addresses behave as on
// Linux, because the traffic does not cross the network. A server that accepts only IPv6
// is not reached over IPv4, because clients try IPv4 first.

// toIPv4 returns the IPv4 addresses of a connection or datagram between two nodes over
// IPv6. An IPv6 address of the network has the node's IPv4 address in its last 32 bits.
// ok is false for other addresses.
func (c *Config) toIPv4(src, dst netip.AddrPort) (src4, dst4 netip.AddrPort, ok bool) {
	if !c.Prefix6.Contains(src.Addr()) || !c.Prefix6.Contains(dst.Addr()) ||
		c.Owns(src.Addr()) {
		return src4, dst4, false
	}
	src4, dst4 = lastFour(src), lastFour(dst)
	return src4, dst4, c.Prefix.Contains(src4.Addr()) && c.Prefix.Contains(dst4.Addr())
}

func lastFour(a netip.AddrPort) netip.AddrPort {
	six := a.Addr().As16()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(six[12:])), a.Port())
}

// toIPv6 is the inverse of toIPv4, for one address.
func (c *Config) toIPv6(a netip.AddrPort) netip.AddrPort {
	six, four := c.Prefix6.Addr().As16(), a.Addr().As4()
	copy(six[12:], four[:])
	return netip.AddrPortFrom(netip.AddrFrom16(six), a.Port())
}

// acceptors returns the listeners that accept a connection between two nodes, and the
// connection's ends as their programs see them.
func (n *Node) acceptors(src, dst netip.AddrPort) (found []listener, asSrc,
	asDst netip.AddrPort, err error) {
	found, err = n.listeners.live(dst.Port(), dst.Addr(), wildcardOf(dst.Addr()))
	if err != nil || len(found) > 0 {
		return found, src, dst, err
	}
	src2, dst2, ok := n.toIPv4(src, dst)
	if !ok {
		return nil, src, dst, nil
	}
	found, err = n.listeners.live(dst2.Port(), dst2.Addr(), wildcardOf(dst2.Addr()))
	return found, src2, dst2, err
}

// refuseSameHost returns the error for a node on this host that asks where a listener is.
// If only an IPv4 listener accepts the connection, the other node must send it over the
// network, because the kernel does not translate.
func (n *Node) refuseSameHost(src netip.Addr, dst netip.AddrPort) error {
	found, _, _, err := n.acceptors(netip.AddrPortFrom(src, 0), dst)
	switch {
	case err != nil:
		return err
	case len(found) > 0:
		return unix.EHOSTUNREACH
	}
	return unix.ECONNREFUSED
}

// datagramReceivers appends the kernel addresses of the sockets that may receive a
// datagram for dst. Some may be closed. The first one that exists and accepts the
// datagram is the receiver.
func (u *udp) datagramReceivers(at []netip.AddrPort, dst netip.AddrPort) []netip.AddrPort {
	any := wildcardOf(dst.Addr())
	for _, l := range u.ports.find(dst.Port(), dst.Addr(), any) {
		at = append(at, l.kernel)
	}
	if kernel, ok := u.flows.boundAt(any, dst.Port()); ok {
		at = append(at, kernel)
	}
	return at
}

// onTheWire returns the ends of a datagram to a flow's endpoint as that endpoint knows
// them. An answer to a translated datagram is translated back.
func (u *udp) onTheWire(fl *flow, src netip.AddrPort) (from, to netip.AddrPort) {
	if fl.translated.Load() {
		return u.toIPv6(src), u.toIPv6(fl.peer)
	}
	return src, fl.peer
}
