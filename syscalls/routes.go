package syscalls

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A route is one of a node's, as programs see them: ip-route(8).
type route struct {
	dst   netip.Prefix
	via   netip.Addr // the zero Addr: on the link
	src   netip.Addr // the zero Addr: any
	table uint8      // RT_TABLE_*
	kind  uint8      // RTN_*
	scope uint8      // RT_SCOPE_*
	index int32
}

// routes are the node's: to itself, to the network, and to the outside, which
// its host reaches for it.
func (n *Node) routes() []route {
	rs := []route{{dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), via: n.gateway(),
		table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST, index: InterfaceIndex}}
	for _, l := range n.links() {
		for _, p := range l.addrs {
			if l.index == InterfaceIndex {
				rs = append(rs, route{dst: p.Masked(), src: p.Addr(),
					table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST,
					scope: unix.RT_SCOPE_LINK, index: l.index})
			} else if p.Addr().Is4() {
				rs = append(rs, localRoute(p.Masked(), p.Addr(), l))
			}
			rs = append(rs, localRoute(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), p.Addr(), l))
		}
	}
	return rs
}

func localRoute(dst netip.Prefix, src netip.Addr, l link) route {
	return route{dst: dst, src: src, table: unix.RT_TABLE_LOCAL, kind: unix.RTN_LOCAL,
		scope: unix.RT_SCOPE_HOST, index: l.index}
}

// dumpRoutes writes the routes of a family, or of both.
func (n *Node) dumpRoutes(w *netlinkWriter, family uint8) {
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if family != anyFamily && family != f {
			continue
		}
		for _, r := range n.routes() {
			if familyOf(r.dst.Addr()) == f {
				w.route(r, unix.NLM_F_MULTI)
			}
		}
	}
}

// getRoute answers which way leads to an address, as "ip route get" asks.
func (n *Node) getRoute(w *netlinkWriter, m netlinkRequest) unix.Errno {
	if f := m.body[0]; f != unix.AF_INET && f != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	if len(m.body) < sizeofRtmsg {
		return unix.EINVAL
	}
	dst := wildcardAt(m.body[0])
	if b, ok := m.attribute(sizeofRtmsg, unix.RTA_DST); ok {
		if dst, ok = netip.AddrFromSlice(b); !ok || familyOf(dst) != m.body[0] {
			return unix.EINVAL
		}
	}
	if dst == netip.IPv4Unspecified() { // this host, RFC 1122 section 3.2.1.3
		lo := n.links()[0]
		w.route(localRoute(netip.PrefixFrom(dst, dst.BitLen()), localhost4, lo), 0)
		return 0
	}
	best, found := route{}, false
	for _, r := range n.routes() {
		if r.dst.Contains(dst) && (!found || r.dst.Bits() > best.dst.Bits()) {
			best, found = r, true
		}
	}
	if !found {
		return unix.ENETUNREACH
	}
	best.dst = netip.PrefixFrom(dst, dst.BitLen())
	best.table = unix.RT_TABLE_MAIN
	if !best.src.IsValid() {
		best.src = n.Addr
	}
	w.route(best, 0)
	return 0
}

// wildcardAt returns the wildcard address of a family.
func wildcardAt(family uint8) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// route writes RTM_NEWROUTE.
func (w *netlinkWriter) route(r route, flags uint16) {
	w.message(unix.RTM_NEWROUTE, flags, []byte{
		familyOf(r.dst.Addr()), uint8(r.dst.Bits()), 0, 0, r.table, unix.RTPROT_KERNEL,
		r.scope, r.kind, 0, 0, 0, 0,
	})
	w.attributeUint32(unix.RTA_TABLE, uint32(r.table))
	if r.dst.Bits() > 0 {
		w.attribute(unix.RTA_DST, r.dst.Addr().AsSlice())
	}
	if r.via.IsValid() {
		w.attribute(unix.RTA_GATEWAY, r.via.AsSlice())
	}
	w.attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(r.index)))
	if r.src.IsValid() {
		w.attribute(unix.RTA_PREFSRC, r.src.AsSlice())
	}
}
