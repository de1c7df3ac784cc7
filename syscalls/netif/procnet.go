package netif

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// ProcNet returns the contents of the files of /proc/net about interfaces, addresses and
// routes, by name (proc_pid_net(5)). They do not change while the node lives, since its
// interfaces do not change and their counters are 0.
func (h Host) ProcNet() map[string]string {
	return map[string]string{
		"arp":        "IP address       HW type     Flags       HW address            Mask     Device\n",
		"dev":        h.procDev(),
		"dev_mcast":  "",
		"fib_trie":   h.procFibTrie(),
		"if_inet6":   h.procIfInet6(),
		"igmp":       "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n",
		"igmp6":      "",
		"ipv6_route": h.procIPv6Route(),
		"mcfilter":   "Idx Device        MCA        SRC    INC    EXC\n",
		"mcfilter6":  "Idx Device                Multicast Address                   Source Address    INC    EXC\n",
		"route":      h.procRoute(),
	}
}

// procDev returns /proc/net/dev (dev_seq_printf_stats of net/core/net-procfs.c).
func (h Host) procDev() string {
	var b strings.Builder
	b.WriteString("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast" +
		"|bytes    packets errs drop fifo colls carrier compressed\n")
	for _, l := range h.Links() {
		fmt.Fprintf(&b, "%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n",
			l.Name, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return b.String()
}

// scopeLoopback is IPV6_ADDR_LOOPBACK of include/net/ipv6.h.
const scopeLoopback = 0x10

// procIfInet6 returns /proc/net/if_inet6 (if6_seq_show of net/ipv6/addrconf.c).
func (h Host) procIfInet6() string {
	var b strings.Builder
	for _, l := range h.Links() {
		for _, p := range l.Addrs {
			if !p.Addr().Is6() {
				continue
			}
			scope := 0
			if p.Addr().IsLoopback() {
				scope = scopeLoopback
			}
			flags, _ := AddressFlags(p.Addr())
			fmt.Fprintf(&b, "%s %02x %02x %02x %02x %8s\n", hexAddr(p.Addr()), l.Index,
				p.Bits(), scope, uint8(flags), l.Name)
		}
	}
	return b.String()
}

// hexAddr returns an address in hexadecimal without separators.
func hexAddr(a netip.Addr) string { return hex.EncodeToString(a.AsSlice()) }

// Flags of linux/route.h and linux/ipv6_route.h.
const (
	rtfUp      = 1 // RTF_UP
	rtfGateway = 2 // RTF_GATEWAY
	rtfHost    = 4 // RTF_HOST

	rtfReject    = 0x0200     // RTF_REJECT
	rtfNonexthop = 0x00200000 // RTF_NONEXTHOP
	rtfLocal     = 0x80000000 // RTF_LOCAL

	// metricIPv6 is IP6_RT_PRIO_ADDRCONF, of a route to the network of an interface.
	metricIPv6 = 0x100
	// metricNull is the metric of the route that rejects what matches no other.
	metricNull = 0xffffffff
)

// procRoute returns /proc/net/route: the main IPv4 table. Addresses are 32-bit words in
// host byte order (fib_route_seq_show of net/ipv4/fib_trie.c).
func (h Host) procRoute() string {
	const width = 127
	word := func(a netip.Addr) uint32 {
		if !a.IsValid() {
			return 0
		}
		return binary.NativeEndian.Uint32(a.AsSlice())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s\n", width, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")
	for _, r := range h.Routes() {
		if r.Table != unix.RT_TABLE_MAIN || !r.Dst.Addr().Is4() {
			continue
		}
		flags := rtfUp
		if r.Gateway.IsValid() {
			flags |= rtfGateway
		}
		if r.Dst.IsSingleIP() {
			flags |= rtfHost
		}
		l, _ := h.LinkByIndex(r.Link)
		line := fmt.Sprintf("%s\t%08X\t%08X\t%04X\t%d\t%d\t%d\t%08X\t%d\t%d\t%d", l.Name,
			word(r.Dst.Addr()), word(r.Gateway),
			flags, 0, 0, 0, word(netmask(r.Dst.Bits())), 0, 0, 0)
		fmt.Fprintf(&b, "%-*s\n", width, line)
	}
	return b.String()
}

// procIPv6Route returns /proc/net/ipv6_route (ipv6_route_native_seq_show of
// net/ipv6/ip6_fib.c).
func (h Host) procIPv6Route() string {
	var b strings.Builder
	line := func(dst netip.Prefix, metric, flags uint32, name string) {
		none := strings.Repeat("0", 32)
		fmt.Fprintf(&b, "%s %02x %s 00 %s %08x %08x %08x %08x %8s\n", hexAddr(dst.Addr()),
			dst.Bits(), none, none, metric, 1, 0, flags, name)
	}
	for _, r := range h.Routes() {
		if !r.Dst.Addr().Is6() {
			continue
		}
		metric, flags := uint32(metricIPv6), uint32(rtfUp)
		if r.Type == unix.RTN_LOCAL {
			metric, flags = 0, rtfUp|rtfNonexthop|rtfLocal
		}
		l, _ := h.LinkByIndex(r.Link)
		line(r.Dst, metric, flags, l.Name)
	}
	if h.IPv6 {
		line(netip.PrefixFrom(netip.IPv6Unspecified(), 0), metricNull,
			rtfReject|rtfNonexthop, "lo")
	}
	return b.String()
}

// procFibTrie returns /proc/net/fib_trie. Where no other routing rules exist, Linux keeps
// both IPv4 tables in one trie and shows it twice; so does this. Programs look for
// "host LOCAL". The inner nodes of the trie are omitted.
func (h Host) procFibTrie() string {
	var b strings.Builder
	for _, table := range []string{"Main", "Local"} {
		fmt.Fprintf(&b, "%s:\n  +-- 0.0.0.0/0 2 0 2\n", table)
		for _, r := range h.Routes() {
			if !r.Dst.Addr().Is4() {
				continue
			}
			scope, kind := "universe", "UNICAST"
			switch {
			case r.Type == unix.RTN_LOCAL:
				scope, kind = "host", "LOCAL"
			case r.Scope == unix.RT_SCOPE_LINK:
				scope = "link"
			}
			fmt.Fprintf(&b, "     |-- %s\n        /%d %s %s\n", r.Dst.Addr(),
				r.Dst.Bits(), scope, kind)
		}
	}
	return b.String()
}
