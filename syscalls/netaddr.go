package syscalls

import "net/netip"

// unmapped returns an address in the form of the tables: IPv4 instead of v4-mapped IPv6.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// wildcardOf returns the wildcard of an address's family.
func wildcardOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
