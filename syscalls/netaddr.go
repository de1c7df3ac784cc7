package syscalls

import "net/netip"

// unmapped returns an address as the tables have it: IPv4 where it is v4-mapped.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// wildcardOf returns the wildcard of an address's family.
func wildcardOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
