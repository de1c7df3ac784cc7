package coordinator

import (
	"net/netip"
	"testing"
)

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		prefix      string
		max         uint32 // 0: refused
		first, last string
	}{
		{"10.111.0.0/16", 65533, "10.111.0.2", "10.111.255.254"},
		{"10.0.0.0/8", maxNodes, "10.0.0.2", "10.16.0.1"},
		{"192.168.7.0/24", 253, "192.168.7.2", "192.168.7.254"},
		{"192.168.7.8/30", 1, "192.168.7.10", "192.168.7.10"},
		{"fd6f:7865:72::/64", maxNodes, "fd6f:7865:72::2", "fd6f:7865:72::10:1"},
		{"fd6f:7865:72::ffff:ffff:0:0/96", maxNodes, "fd6f:7865:72:0:ffff:ffff:0:2", "fd6f:7865:72:0:ffff:ffff:10:1"},
		{"0.0.0.0/0", maxNodes, "0.0.0.2", "0.16.0.1"},
		{"192.168.7.8/31", 0, "", ""},
		{"192.168.7.8/32", 0, "", ""},
		{"192.168.7.9/24", 0, "", ""},
		{"fd6f::/127", 0, "", ""},
	} {
		p, err := newPlan(netip.MustParsePrefix(tc.prefix))
		if p.max != tc.max || (err == nil) != (tc.max > 0) {
			t.Errorf("%s: max %d, %v; want %d", tc.prefix, p.max, err, tc.max)
			continue
		}
		if err != nil {
			continue
		}
		if first, last := p.addr(1).String(), p.addr(p.max).String(); first != tc.first || last != tc.last {
			t.Errorf("%s: %s to %s, want %s to %s", tc.prefix, first, last, tc.first, tc.last)
		}
		if !p.prefix.Contains(p.addr(p.max)) {
			t.Errorf("%s does not contain %v", tc.prefix, p.addr(p.max))
		}
	}
	if _, err := newPlan(netip.Prefix{}); err == nil {
		t.Error("the zero prefix was accepted")
	}
}
