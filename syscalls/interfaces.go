package syscalls

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// InterfaceName and InterfaceIndex are those of a node's virtual network
// interface. The host's own interfaces do not exist for its programs: nobody
// can reach a node there.
const (
	InterfaceName  = "boxer0"
	InterfaceIndex = 2
)

// A link is a network interface as programs see it: netdevice(7), rtnetlink(7).
type link struct {
	index int32
	name  string
	kind  uint16  // ARPHRD_*
	flags uint32  // IFF_*
	mtu   uint32  // in bytes
	mac   [6]byte // for ARPHRD_ETHER a locally administered one that no other node has
	state uint8   // operational state, RFC 2863
	addrs []netip.Prefix
}

const (
	ethernet = 1 // ARPHRD_ETHER of linux/if_arp.h

	// linkMTU is the least that IPv6 allows (RFC 8200 section 5); a datagram of
	// that size is one packet on most paths, or two.
	linkMTU = 1280

	stateUnknown = 0 // IF_OPER_UNKNOWN of linux/if.h: loopback's
	stateUp      = 6 // IF_OPER_UP
)

// links are the node's interfaces in the order of their indices. The virtual one
// is no IFF_BROADCAST or IFF_MULTICAST one: the network has neither.
func (n *Node) links() []link {
	lo := link{
		index: 1, name: "lo", kind: unix.ARPHRD_LOOPBACK, mtu: 65536, state: stateUnknown,
		flags: unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING | unix.IFF_LOWER_UP,
		addrs: []netip.Prefix{netip.PrefixFrom(localhost4, 8)},
	}
	if hasIPv6() {
		lo.addrs = append(lo.addrs, netip.PrefixFrom(netip.IPv6Loopback(), 128))
	}
	own := link{
		index: InterfaceIndex, name: InterfaceName, kind: ethernet, mtu: linkMTU,
		state: stateUp,
		flags: unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP | unix.IFF_LOWER_UP,
		addrs: []netip.Prefix{netip.PrefixFrom(n.Addr, n.Prefix.Bits())},
	}
	if n.Addr6.IsValid() {
		own.addrs = append(own.addrs, netip.PrefixFrom(n.Addr6, n.Prefix6.Bits()))
	}
	a := n.Addr.As4()
	own.mac = [6]byte{0x02, 0x62, a[0], a[1], a[2], a[3]}
	return []link{lo, own}
}

// linkNamed returns the interface of a name.
func (n *Node) linkNamed(name string) (link, bool) {
	for _, l := range n.links() {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}

// linkAt returns the interface of an index.
func (n *Node) linkAt(index int32) (link, bool) {
	for _, l := range n.links() {
		if l.index == index {
			return l, true
		}
	}
	return link{}, false
}

// hasLink reports whether there is an interface of an index.
func (n *Node) hasLink(index uint32) bool {
	_, ok := n.linkAt(int32(index))
	return ok
}

// ip4 returns the interface's IPv4 address.
func (l link) ip4() (netip.Prefix, bool) {
	for _, p := range l.addrs {
		if p.Addr().Is4() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// gateway is the network's last address but the broadcast one, and nobody's.
// Programs that look for the interface that leads outside find it by the
// gateway of the default route.
func (n *Node) gateway() netip.Addr {
	a := n.Prefix.Masked().Addr().As4()
	for bit := n.Prefix.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	a[3]--
	return netip.AddrFrom4(a)
}

// gateway6 is the same in the IPv6 network, nobody's either: nodes have their
// IPv4 addresses in the last 32 bits.
func (n *Node) gateway6() netip.Addr {
	if !n.Prefix6.IsValid() {
		return netip.Addr{}
	}
	a, low := n.Prefix6.Addr().As16(), n.gateway().As4()
	copy(a[12:], low[:])
	return netip.AddrFrom16(a)
}
