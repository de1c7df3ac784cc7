package coordinator

import (
	"fmt"
	"net"
	"net/netip"
)

// MinNodes is the number of nodes for which a network needs room: a prefix of /29 has
// five addresses for nodes.
const MinNodes = 5

// special lists IPv4 networks that programs and kernels treat specially (RFC 6890), so
// that no node can have an address in them.
var special = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"),
		"addresses of this host itself (RFC 1122 section 3.2.1.3)"},
	{netip.MustParsePrefix("127.0.0.0/8"),
		"loopback addresses (RFC 1122 section 3.2.1.3)"},
	{netip.MustParsePrefix("169.254.0.0/16"),
		"link-local addresses, and clouds' metadata services (RFC 3927)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"),
		"reserved and broadcast addresses (RFC 1112 section 4)"},
}

// CheckPrefixes reports what is wrong with the prefixes of a network. The zero Prefix
// stands for no IPv6. It does not look at this host: see Clash.
func CheckPrefixes(prefix, prefix6 netip.Prefix) error {
	p, err := newAddressPlan(prefix, prefix6)
	if err != nil {
		return err
	}
	for _, s := range special {
		if prefix.Overlaps(s.prefix) {
			return fmt.Errorf("prefix %v: it has %s; take a private network such as %v",
				prefix, s.why, DefaultPrefix)
		}
	}
	if p.max < MinNodes {
		return fmt.Errorf("prefix %v: it has room for only %d nodes; use a prefix of at most /29", prefix, p.max)
	}
	return nil
}

// Clash returns an address of this host that lies in one of the prefixes, if there is
// one. Programs on the network would reach a node under that address, and not this host.
func Clash(prefixes ...netip.Prefix) (netip.Prefix, bool) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, false // addresses that cannot be listed are ignored
	}
	return clash(addrs, prefixes...)
}

func clash(addrs []net.Addr, prefixes ...netip.Prefix) (netip.Prefix, bool) {
	for _, a := range addrs {
		own, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		for _, p := range prefixes {
			if p.IsValid() && p.Contains(own.Addr()) {
				return own, true
			}
		}
	}
	return netip.Prefix{}, false
}

// FreePrefix returns DefaultPrefix, or if this host has an address in it, the first of
// some alternatives in which the host has none.
func FreePrefix() netip.Prefix { return free(DefaultPrefix, others) }

// FreePrefix6 is the same for DefaultPrefix6.
func FreePrefix6() netip.Prefix { return free(DefaultPrefix6, others6) }

var (
	others = []netip.Prefix{
		netip.MustParsePrefix("172.29.0.0/16"), netip.MustParsePrefix("10.211.0.0/16"),
		netip.MustParsePrefix("192.168.240.0/20"),
	}
	others6 = []netip.Prefix{netip.MustParsePrefix("fd6f:7865:73::/64"),
		netip.MustParsePrefix("fd6f:7865:74::/64")}
)

func free(first netip.Prefix, others []netip.Prefix) netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return first
	}
	return freeOf(addrs, first, others)
}

func freeOf(addrs []net.Addr, first netip.Prefix, others []netip.Prefix) netip.Prefix {
	for _, p := range append([]netip.Prefix{first}, others...) {
		if _, ok := clash(addrs, p); !ok {
			return p
		}
	}
	return first
}
