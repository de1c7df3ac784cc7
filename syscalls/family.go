package syscalls

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Every node has an address of each family, and its name has both, whatever its programs
// listen on. On an ordinary network whoever enters an AAAA record knows that the server
// takes IPv6; here nobody can know it, since a name has no port. Many servers listen on
// 0.0.0.0 only, and some clients take no other address than the IPv6 one that they have
// asked for first. So between two nodes the network does what a stateless translator does
// (RFC 7915): where nobody has a port over IPv6, the socket that has it over IPv4 gets
// the connection or the datagram, from the sender's IPv4 address. The sender sees the
// address that it has asked for. On Linux it would be refused. A node's own addresses are
// as on Linux, since what a program sends there crosses no network; and so is a server
// that takes IPv6 only, since clients try IPv4 first.

// toIPv4 returns the IPv4 ends of what one node sends another over IPv6: an IPv6 address
// of the network has the node's IPv4 address in its last 32 bits. ok is false for all
// else.
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

// acceptors returns the listeners that take a connection between two nodes, and its ends
// as their programs see them.
func (n *Node) acceptors(src, dst netip.AddrPort) (found []listener, asSrc,
	asDst netip.AddrPort, err error) {
	found, err = n.live(dst.Port(), dst.Addr(), wildcardOf(dst.Addr()))
	if err != nil || len(found) > 0 {
		return found, src, dst, err
	}
	src2, dst2, ok := n.toIPv4(src, dst)
	if !ok {
		return nil, src, dst, nil
	}
	found, err = n.live(dst2.Port(), dst2.Addr(), wildcardOf(dst2.Addr()))
	return found, src2, dst2, err
}

// refuseSameHost is the error for a neighbour that asks where a listener is. Where only
// one over IPv4 takes the connection, the neighbour has to send it over the network: the
// kernel does not translate.
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

// datagramReceivers appends where the programs' sockets are, or were, that a datagram for
// dst may go to. The first one that is there, and takes it, is the right one.
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

// onTheWire returns the ends of a datagram that a program sends to a flow's endpoint, as
// that endpoint knows them: what was translated goes back the same way.
func (u *udp) onTheWire(fl *flow, src netip.AddrPort) (from, to netip.AddrPort) {
	if fl.translated.Load() {
		return u.toIPv6(src), u.toIPv6(fl.peer)
	}
	return src, fl.peer
}
