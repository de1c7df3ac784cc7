package syscalls

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes and values that package unix lacks.
const (
	iflaTxqlen     = 13
	iflaOperstate  = 16
	iflaLinkmode   = 17
	iflaGroup      = 27
	iflaNumTx      = 31
	iflaNumRx      = 32
	nlmsgAlignment = 4
	nlaTypeMask    = 0x3fff
	sizeofStats    = 24 * 4 // struct rtnl_link_stats of linux/if_link.h
	// of a message type: new, delete, get, set (net/core/rtnetlink.c)
	rtmKindMask = 3
	rtmKindGet  = 2
)

// answerNetlink answers what a program sent to NETLINK_ROUTE, as the kernel of the host
// would. pid is the socket's address. The result is
// what the program receives, empty for nothing.
func answerNetlink(h Host, b []byte, pid uint32) []byte {
	w := &netlinkWriter{pid: pid}
	for {
		m, rest, ok := parseNetlink(b)
		if !ok {
			return w.b
		}
		b = rest
		w.seq = m.seq
		var errno unix.Errno
		if m.flags&unix.NLM_F_REQUEST != 0 && m.kind >= unix.RTM_BASE {
			var dump bool
			if dump, errno = answerRoute(h, w, m); dump {
				continue
			}
		}
		if errno != 0 || m.flags&unix.NLM_F_ACK != 0 {
			w.fail(m, errno)
		}
	}
}

// answerRoute answers one request. dump is true if it was one for a dump, which
// is not acknowledged.
func answerRoute(h Host, w *netlinkWriter, m netlinkRequest) (dump bool,
	errno unix.Errno) {
	switch {
	case m.kind > unix.RTM_MAX:
		return false, unix.EOPNOTSUPP
	case len(m.body) < unix.SizeofRtGenmsg:
		return false, 0
	case m.kind&rtmKindMask != rtmKindGet:
		return false, unix.EPERM // the node's interfaces are boxer's
	case m.flags&unix.NLM_F_DUMP != 0:
		return answerDump(h, w, m)
	case m.kind == unix.RTM_GETLINK:
		return false, getLink(h, w, m)
	case m.kind == unix.RTM_GETROUTE:
		return false, getRoute(h, w, m)
	}
	return false, unix.EOPNOTSUPP
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// getLink answers for one interface, by index or name.
func getLink(h Host, w *netlinkWriter, m netlinkRequest) unix.Errno {
	if len(m.body) < sizeofIfinfomsg {
		return unix.EINVAL
	}
	index := int32(binary.NativeEndian.Uint32(m.body[4:]))
	name, named := m.attribute(sizeofIfinfomsg, unix.IFLA_IFNAME)
	if !named {
		name, named = m.attribute(sizeofIfinfomsg, unix.IFLA_ALT_IFNAME)
	}
	l, ok := link{}, false
	switch {
	case index > 0:
		l, ok = h.linkAt(index)
	case named:
		l, ok = h.linkNamed(unix.ByteSliceToString(name))
	default:
		return unix.EINVAL
	}
	if !ok {
		return unix.ENODEV
	}
	w.link(l, 0)
	return 0
}

// link writes RTM_NEWLINK.
func (w *netlinkWriter) link(l link, flags uint16) {
	var b [sizeofIfinfomsg]byte
	binary.NativeEndian.PutUint16(b[2:], l.kind)
	binary.NativeEndian.PutUint32(b[4:], uint32(l.index))
	binary.NativeEndian.PutUint32(b[8:], l.flags)
	w.message(unix.RTM_NEWLINK, flags, b[:])
	w.attribute(unix.IFLA_IFNAME, append([]byte(l.name), 0))
	w.attributeUint32(iflaTxqlen, txQueueLen)
	w.attribute(iflaOperstate, []byte{l.state})
	w.attribute(iflaLinkmode, []byte{0})
	w.attributeUint32(unix.IFLA_MTU, l.mtu)
	w.attributeUint32(iflaGroup, 0)
	w.attributeUint32(iflaNumTx, 1)
	w.attributeUint32(iflaNumRx, 1)
	w.attribute(unix.IFLA_QDISC, []byte("noqueue\x00"))
	w.attribute(unix.IFLA_ADDRESS, l.mac[:])
	w.attribute(unix.IFLA_BROADCAST, l.broadcast())
	w.attribute(unix.IFLA_STATS, make([]byte, sizeofStats)) // nobody counts
}

// address writes RTM_NEWADDR.
func (w *netlinkWriter) address(l link, p netip.Prefix) {
	flags, preferred := addressFlags(p.Addr())
	b := [sizeofIfaddrmsg]byte{0: familyOf(p.Addr()), 1: uint8(p.Bits()), 2: uint8(flags),
		3: unix.RT_SCOPE_UNIVERSE}
	if p.Addr().IsLoopback() {
		b[3] = unix.RT_SCOPE_HOST
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(l.index))
	w.message(unix.RTM_NEWADDR, unix.NLM_F_MULTI, b[:])
	a := p.Addr().AsSlice()
	w.attribute(unix.IFA_ADDRESS, a)
	if p.Addr().Is4() {
		w.attribute(unix.IFA_LOCAL, a)
		w.attribute(unix.IFA_LABEL, append([]byte(l.name), 0))
	}
	w.attributeUint32(unix.IFA_FLAGS, flags)
	// struct ifa_cacheinfo: for how long preferred, and valid for ever
	cache := make([]byte, 16)
	binary.NativeEndian.PutUint32(cache, preferred)
	binary.NativeEndian.PutUint32(cache[4:], ^uint32(0))
	w.attribute(unix.IFA_CACHEINFO, cache)
}
