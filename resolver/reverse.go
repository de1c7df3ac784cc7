package resolver

import (
	"net/netip"
	"strconv"
	"strings"
)

// parseReverse parses a reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5). It
// returns an address as a prefix of full length, or fewer leading bits if the name has
// fewer labels. The name is in lower case, without a trailing dot.
func parseReverse(name string) (netip.Prefix, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		var a [4]byte
		bits, ok := reverseLabels(rest, 10, 8, 4, func(i int, v byte) { a[i] = v })
		return netip.PrefixFrom(netip.AddrFrom4(a), bits), ok
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		var a [16]byte
		bits, ok := reverseLabels(rest, 16, 4, 32,
			func(i int, v byte) { a[i/2] |= v << (4 * (1 - i%2)) })
		return netip.PrefixFrom(netip.AddrFrom16(a), bits), ok
	}
	return netip.Prefix{}, false
}

// reverseLabels parses the labels of rest, at most limit numbers of width bits each. It
// calls set for each, beginning with the last label, and returns how many bits they make.
func reverseLabels(rest string, base, width, limit int,
	set func(i int, v byte)) (bits int, ok bool) {
	labels := strings.Split(rest, ".")
	if len(labels) > limit {
		return 0, false
	}
	for i := range labels {
		label := labels[len(labels)-1-i]
		v, err := strconv.ParseUint(label, base, width)
		// "007" is another name than "7"
		if err != nil || strconv.FormatUint(v, base) != label {
			return 0, false
		}
		set(i, byte(v))
	}
	return len(labels) * width, true
}

// inNetwork reports whether all of r lies in the network.
func (s *Server) inNetwork(r netip.Prefix) bool {
	for _, prefix := range s.names.Prefixes() {
		if prefix.IsValid() && r.Bits() >= prefix.Bits() && prefix.Contains(r.Addr()) {
			return true
		}
	}
	return false
}
