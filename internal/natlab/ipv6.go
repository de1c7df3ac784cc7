package natlab

import (
	"context"
	"fmt"
	"net/netip"
)

// The lab's IPv6 addresses come from the block for documentation (RFC 3849). A host
// has its IPv4 address in the last 32 bits of its own.
var publicHosts6 = netip.MustParseAddr("2001:db8:5::")

// internetHop6 is the gateway's address on each link. It is link-local, so several links
// may have it.
const internetHop6 = "fe80::1"

// AddIPv6 gives a public host an IPv6 address in addition to its IPv4 address, and
// returns it. The internet routes between such hosts. The address is valid at once:
// duplicate address detection (RFC 4862) is off, because no other host has the address.
func (h *Host) AddIPv6(ctx context.Context) (netip.Addr, error) {
	if h.router != nil {
		return netip.Addr{}, fmt.Errorf("natlab: host %s: IPv6 behind a router: there is none", h.Name())
	}
	b, four := publicHosts6.As16(), h.addr.As4()
	copy(b[12:], four[:])
	addr := netip.AddrFrom16(b)
	err := h.up.routeIPv6(ctx, h.Name(), addr)
	if err == nil {
		err = h.ns.enableIPv6(uplink)
	}
	if err == nil {
		err = h.ns.ip(ctx,
			fmt.Sprintf("address add %s/128 dev %s nodad preferred_lft 0", addr, uplink),
			fmt.Sprintf("route add ::/0 via %s dev %s", internetHop6, uplink))
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("natlab: IPv6 of %s: %w", h.Name(), err)
	}
	return addr, nil
}

// routeIPv6 adds a route to the address behind a link.
func (g *gateway) routeIPv6(ctx context.Context, link string, addr netip.Addr) error {
	if err := g.ns.sysctl("net/ipv6/conf/all/forwarding", "1"); err != nil {
		return err
	}
	if err := g.ns.enableIPv6(link); err != nil {
		return err
	}
	return g.ns.ip(ctx,
		fmt.Sprintf("address add %s/64 dev %s nodad", internetHop6, link),
		fmt.Sprintf("route add %s dev %s", addr, link))
}

// enableIPv6 enables IPv6 on a link. New links have it disabled.
func (ns *namespace) enableIPv6(link string) error {
	for _, set := range [][2]string{{"accept_dad", "0"}, {"accept_ra", "0"},
		{"disable_ipv6", "0"}} {
		if err := ns.sysctl("net/ipv6/conf/"+link+"/"+set[0], set[1]); err != nil {
			return err
		}
	}
	return nil
}
