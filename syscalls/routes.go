package syscalls

import (
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
func (h Host) routes() []route {
	rs := []route{{dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), via: h.gateway(),
		table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST, index: InterfaceIndex}}
	for _, l := range h.links() {
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

// routeTo returns the route to one address, as "ip route get" shows it. ok is false if
// there is none.
func (h Host) routeTo(dst netip.Addr) (best route, ok bool) {
	if dst == netip.IPv4Unspecified() { // this host, RFC 1122 section 3.2.1.3
		return localRoute(netip.PrefixFrom(dst, dst.BitLen()), loopback4, h.links()[0]), true
	}
	for _, r := range h.routes() {
		if r.dst.Contains(dst) && (!ok || r.dst.Bits() > best.dst.Bits()) {
			best, ok = r, true
		}
	}
	if !ok {
		return route{}, false
	}
	best.dst = netip.PrefixFrom(dst, dst.BitLen())
	best.table = unix.RT_TABLE_MAIN
	if !best.src.IsValid() {
		best.src = h.Addr.Addr()
	}
	return best, true
}
