package rtnetlink

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// Attributes of RTM_NEWLINK that package unix lacks (linux/if_link.h).
const (
	iflaTxqlen    = 13
	iflaOperstate = 16
	iflaLinkmode  = 17
	iflaGroup     = 27
	iflaNumTx     = 31
	iflaNumRx     = 32

	sizeofStats = 24 * 4 // struct rtnl_link_stats, in bytes
)

// familyOf returns the address family of an address.
func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// getLink answers RTM_GETLINK for one interface, by its index or name.
func getLink(h netif.Host, w *netlinkWriter, m netlinkRequest) unix.Errno {
	if len(m.body) < sizeofIfinfomsg {
		return unix.EINVAL
	}
	index := int32(binary.NativeEndian.Uint32(m.body[4:]))
	name, named := m.attribute(sizeofIfinfomsg, unix.IFLA_IFNAME)
	if !named {
		name, named = m.attribute(sizeofIfinfomsg, unix.IFLA_ALT_IFNAME)
	}
	l, ok := netif.Link{}, false
	switch {
	case index > 0:
		l, ok = h.LinkByIndex(index)
	case named:
		l, ok = h.LinkByName(unix.ByteSliceToString(name))
	default:
		return unix.EINVAL
	}
	if !ok {
		return unix.ENODEV
	}
	w.link(l, 0)
	return 0
}

// link appends an RTM_NEWLINK message.
func (w *netlinkWriter) link(l netif.Link, flags uint16) {
	var b [sizeofIfinfomsg]byte
	binary.NativeEndian.PutUint16(b[2:], l.Type)
	binary.NativeEndian.PutUint32(b[4:], uint32(l.Index))
	binary.NativeEndian.PutUint32(b[8:], l.Flags)
	w.message(unix.RTM_NEWLINK, flags, b[:])
	w.attribute(unix.IFLA_IFNAME, append([]byte(l.Name), 0))
	w.attributeUint32(iflaTxqlen, netif.TxQueueLen)
	w.attribute(iflaOperstate, []byte{l.OperState})
	w.attribute(iflaLinkmode, []byte{0})
	w.attributeUint32(unix.IFLA_MTU, l.MTU)
	w.attributeUint32(iflaGroup, 0)
	w.attributeUint32(iflaNumTx, 1)
	w.attributeUint32(iflaNumRx, 1)
	w.attribute(unix.IFLA_QDISC, []byte("noqueue\x00"))
	w.attribute(unix.IFLA_ADDRESS, l.HardwareAddr[:])
	w.attribute(unix.IFLA_BROADCAST, l.Broadcast())
	w.attribute(unix.IFLA_STATS, make([]byte, sizeofStats)) // no counters
}

// address appends an RTM_NEWADDR message.
func (w *netlinkWriter) address(l netif.Link, p netip.Prefix) {
	flags, preferred := netif.AddressFlags(p.Addr())
	b := [sizeofIfaddrmsg]byte{0: familyOf(p.Addr()), 1: uint8(p.Bits()), 2: uint8(flags),
		3: unix.RT_SCOPE_UNIVERSE}
	if p.Addr().IsLoopback() {
		b[3] = unix.RT_SCOPE_HOST
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(l.Index))
	w.message(unix.RTM_NEWADDR, unix.NLM_F_MULTI, b[:])
	a := p.Addr().AsSlice()
	w.attribute(unix.IFA_ADDRESS, a)
	if p.Addr().Is4() {
		w.attribute(unix.IFA_LOCAL, a)
		w.attribute(unix.IFA_LABEL, append([]byte(l.Name), 0))
	}
	w.attributeUint32(unix.IFA_FLAGS, flags)
	// struct ifa_cacheinfo: the preferred lifetime, and a valid lifetime without end
	cache := make([]byte, 16)
	binary.NativeEndian.PutUint32(cache, preferred)
	binary.NativeEndian.PutUint32(cache[4:], ^uint32(0))
	w.attribute(unix.IFA_CACHEINFO, cache)
}
