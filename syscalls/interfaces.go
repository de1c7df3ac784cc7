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

// A Host is a network host with two interfaces: loopback, and one that has its virtual
// addresses.
type Host struct {
	Addr  netip.Prefix // its IPv4 address, with the length of the network's prefix
	Addr6 netip.Prefix // its IPv6 address, likewise; the zero Prefix: none
	IPv6  bool         // loopback has ::1
}

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

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

const (
	ethernet = 1 // ARPHRD_ETHER of linux/if_arp.h

	// linkMTU is the least that IPv6 allows (RFC 8200 section 5); a datagram of
	// that size is one packet on most paths, or two.
	linkMTU = 1280

	txQueueLen = 1000 // DEFAULT_TX_QUEUE_LEN, in packets

	stateUnknown = 0 // IF_OPER_UNKNOWN of linux/if.h: loopback's
	stateUp      = 6 // IF_OPER_UP
)

// links are the node's interfaces in the order of their indices. The virtual one
// is no IFF_BROADCAST or IFF_MULTICAST one: the network has neither.
func (h Host) links() []link {
	lo := link{
		index: 1, name: "lo", kind: unix.ARPHRD_LOOPBACK, mtu: 65536, state: stateUnknown,
		flags: unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING | unix.IFF_LOWER_UP,
		addrs: []netip.Prefix{netip.PrefixFrom(loopback4, 8)},
	}
	if h.IPv6 {
		lo.addrs = append(lo.addrs, netip.PrefixFrom(netip.IPv6Loopback(), 128))
	}
	own := link{
		index: InterfaceIndex, name: InterfaceName, kind: ethernet, mtu: linkMTU,
		state: stateUp,
		flags: unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP | unix.IFF_LOWER_UP,
		addrs: []netip.Prefix{h.Addr},
	}
	if h.Addr6.IsValid() {
		own.addrs = append(own.addrs, h.Addr6)
	}
	a := h.Addr.Addr().As4()
	own.mac = [6]byte{0x02, 0x62, a[0], a[1], a[2], a[3]}
	return []link{lo, own}
}

// linkNamed returns the interface of a name.
func (h Host) linkNamed(name string) (link, bool) {
	for _, l := range h.links() {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}

// linkAt returns the interface of an index.
func (h Host) linkAt(index int32) (link, bool) {
	for _, l := range h.links() {
		if l.index == index {
			return l, true
		}
	}
	return link{}, false
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
func (h Host) gateway() netip.Addr {
	a := h.Addr.Masked().Addr().As4()
	for bit := h.Addr.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	a[3]--
	return netip.AddrFrom4(a)
}

// gateway6 is the same in the IPv6 network, nobody's either: nodes have their
// IPv4 addresses in the last 32 bits.
func (h Host) gateway6() netip.Addr {
	if !h.Addr6.IsValid() {
		return netip.Addr{}
	}
	a, low := h.Addr6.Addr().As16(), h.gateway().As4()
	copy(a[12:], low[:])
	return netip.AddrFrom16(a)
}

// broadcast returns the interface's hardware broadcast address.
func (l link) broadcast() []byte {
	if l.kind == unix.ARPHRD_LOOPBACK {
		return make([]byte, 6)
	}
	return []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// addressFlags returns the IFA_F_* flags of an address, and for how many seconds it is
// preferred. An IPv6 address of the network is deprecated (RFC 4862 section 5.5.4): it is
// as good as any, and new connections prefer another. So glibc puts a name's IPv4
// address first, as Go, musl and Java do with unique local addresses anyway (RFC 6724
// section 6, rules 3 and 6): old programs often try only the first, and old servers
// often listen at IPv4 alone.
func addressFlags(a netip.Addr) (flags, preferred uint32) {
	if a.Is6() && !a.IsLoopback() {
		return unix.IFA_F_PERMANENT | unix.IFA_F_DEPRECATED, 0
	}
	return unix.IFA_F_PERMANENT, ^uint32(0)
}
