package netif

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// AddressFlags returns the IFA_F_* flags of an address, and its preferred lifetime in
// seconds (struct ifa_cacheinfo).
//
// An IPv6 address of the network is deprecated (RFC 4862 section 5.5.4): it works like
// any other, but new connections prefer another source address. For this reason glibc
// puts the IPv4 address of a name first. Go, musl and Java do so for unique local
// addresses anyway (RFC 6724 section 6, rules 3 and 6). Old programs often try only the
// first address, and old servers often listen on IPv4 alone.
func AddressFlags(a netip.Addr) (flags, preferred uint32) {
	if a.Is6() && !a.IsLoopback() {
		return unix.IFA_F_PERMANENT | unix.IFA_F_DEPRECATED, 0
	}
	return unix.IFA_F_PERMANENT, ^uint32(0)
}
