package netif

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// InterfaceName and InterfaceIndex identify a node's virtual network interface.
const (
	InterfaceName  = "boxer0"
	InterfaceIndex = 2
)

// A Host has the addresses of a node. Its programs see two interfaces: loopback, and the
// virtual one, which has these addresses.
type Host struct {
	Addr  netip.Prefix // the IPv4 address, with the length of the network's prefix
	Addr6 netip.Prefix // the IPv6 address, likewise; the zero Prefix: none
	IPv6  bool         // loopback has ::1
}

// A Link is a network interface as programs see it (netdevice(7), rtnetlink(7)).
type Link struct {
	Index        int32
	Name         string
	Type         uint16  // ARPHRD_*
	Flags        uint32  // IFF_*
	MTU          uint32  // in bytes
	HardwareAddr [6]byte // for ARPHRD_ETHER unique in the network
	OperState    uint8   // IF_OPER_*: the operational state of RFC 2863
	Addrs        []netip.Prefix
}

// MTU is the virtual interface's maximum transmission unit in bytes: the smallest that
// IPv6 allows (RFC 8200 section 5). A datagram of that size needs one packet on most
// paths, and two on others.
const MTU = 1280

// TxQueueLen is every interface's transmit queue length in packets: DEFAULT_TX_QUEUE_LEN
// of include/net/pkt_sched.h.
const TxQueueLen = 1000

const (
	ethernet = 1 // ARPHRD_ETHER of linux/if_arp.h

	stateUnknown = 0 // IF_OPER_UNKNOWN of linux/if.h, the state of loopback
	stateUp      = 6 // IF_OPER_UP
)

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Links returns the interfaces in the order of their indices. The virtual interface has
// neither IFF_BROADCAST nor IFF_MULTICAST, since the network has no broadcast and no
// multicast.
func (h Host) Links() []Link {
	lo := Link{
		Index: 1, Name: "lo", Type: unix.ARPHRD_LOOPBACK, MTU: 65536,
		OperState: stateUnknown,
		Flags:     unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING | unix.IFF_LOWER_UP,
		Addrs:     []netip.Prefix{netip.PrefixFrom(loopback4, 8)},
	}
	if h.IPv6 {
		lo.Addrs = append(lo.Addrs, netip.PrefixFrom(netip.IPv6Loopback(), 128))
	}
	own := Link{
		Index: InterfaceIndex, Name: InterfaceName, Type: ethernet, MTU: MTU,
		OperState: stateUp,
		Flags:     unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP | unix.IFF_LOWER_UP,
		Addrs:     []netip.Prefix{h.Addr},
	}
	if h.Addr6.IsValid() {
		own.Addrs = append(own.Addrs, h.Addr6)
	}
	a := h.Addr.Addr().As4()
	own.HardwareAddr = [6]byte{0x02, 0x62, a[0], a[1], a[2], a[3]}
	return []Link{lo, own}
}

// LinkByName returns the interface that has a name.
func (h Host) LinkByName(name string) (Link, bool) {
	for _, l := range h.Links() {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// LinkByIndex returns the interface that has an index.
func (h Host) LinkByIndex(index int32) (Link, bool) {
	for _, l := range h.Links() {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// ip4 returns the interface's IPv4 address.
func (l Link) ip4() (netip.Prefix, bool) {
	for _, p := range l.Addrs {
		if p.Addr().Is4() {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Broadcast returns the interface's hardware broadcast address: zeros for loopback.
func (l Link) Broadcast() []byte {
	if l.Type == unix.ARPHRD_LOOPBACK {
		return make([]byte, 6)
	}
	return []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}
