package netif

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Route is a route as programs see it (ip-route(8)).
type Route struct {
	Dst     netip.Prefix
	Gateway netip.Addr // the zero Addr: Dst is on the link
	Src     netip.Addr // the zero Addr: any
	Table   uint8      // RT_TABLE_*
	Type    uint8      // RTN_*
	Scope   uint8      // RT_SCOPE_*
	Link    int32      // the interface's index
}

// Routes returns the routes to the node itself, to the network, and to the outside.
func (h Host) Routes() []Route {
	rs := []Route{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: h.Gateway(),
		Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Link: InterfaceIndex}}
	for _, l := range h.Links() {
		for _, p := range l.Addrs {
			if l.Index == InterfaceIndex {
				rs = append(rs, Route{Dst: p.Masked(), Src: p.Addr(),
					Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST,
					Scope: unix.RT_SCOPE_LINK, Link: l.Index})
			} else if p.Addr().Is4() {
				rs = append(rs, localRoute(p.Masked(), p.Addr(), l))
			}
			own := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
			rs = append(rs, localRoute(own, p.Addr(), l))
		}
	}
	return rs
}

// localRoute returns a route to addresses of the host itself.
func localRoute(dst netip.Prefix, src netip.Addr, l Link) Route {
	return Route{Dst: dst, Src: src, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL,
		Scope: unix.RT_SCOPE_HOST, Link: l.Index}
}

// RouteTo returns the route to one address, as "ip route get" shows it. ok is false if
// there is none.
func (h Host) RouteTo(dst netip.Addr) (best Route, ok bool) {
	single := netip.PrefixFrom(dst, dst.BitLen())
	if dst == netip.IPv4Unspecified() { // this host, RFC 1122 section 3.2.1.3
		return localRoute(single, loopback4, h.Links()[0]), true
	}
	for _, r := range h.Routes() {
		if r.Dst.Contains(dst) && (!ok || r.Dst.Bits() > best.Dst.Bits()) {
			best, ok = r, true
		}
	}
	if !ok {
		return Route{}, false
	}
	best.Dst, best.Table = single, unix.RT_TABLE_MAIN
	if !best.Src.IsValid() {
		best.Src = h.Addr.Addr()
	}
	return best, true
}

// Gateway returns the gateway of the default route: the last address of the network
// before the broadcast address. No node has it. Programs find the interface that leads
// outside by this route.
func (h Host) Gateway() netip.Addr {
	a := h.Addr.Masked().Addr().As4()
	for bit := h.Addr.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	a[3]--
	return netip.AddrFrom4(a)
}

// Gateway6 returns the address of the IPv6 network whose last 32 bits are Gateway. No
// node has it, because the last 32 bits of a node's IPv6 address are its IPv4 address. It
// returns the zero Addr if the host has no IPv6 address.
func (h Host) Gateway6() netip.Addr {
	if !h.Addr6.IsValid() {
		return netip.Addr{}
	}
	a, low := h.Addr6.Addr().As16(), h.Gateway().As4()
	copy(a[12:], low[:])
	return netip.AddrFrom16(a)
}
