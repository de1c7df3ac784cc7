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
		{"0.0.0.0/0", maxNodes, "0.0.0.2", "0.16.0.1"},
		{"192.168.7.8/31", 0, "", ""},
		{"192.168.7.8/32", 0, "", ""},
		{"192.168.7.9/24", 0, "", ""},
		{"fd6f:7865:72::/64", 0, "", ""},
	} {
		p, err := newAddressPlan(netip.MustParsePrefix(tc.prefix), netip.Prefix{})
		if p.max != tc.max || (err == nil) != (tc.max > 0) {
			t.Errorf("%s: max %d, %v; want %d", tc.prefix, p.max, err, tc.max)
			continue
		}
		if err != nil {
			continue
		}
		if first, last := p.addr(1).String(), p.addr(p.max).String(); first != tc.first ||
			last != tc.last {
			t.Errorf("%s: %s to %s, want %s to %s", tc.prefix, first, last, tc.first, tc.last)
		}
		if !p.prefix.Contains(p.addr(p.max)) {
			t.Errorf("%s does not contain %v", tc.prefix, p.addr(p.max))
		}
	}
	if _, err := newAddressPlan(netip.Prefix{}, netip.Prefix{}); err == nil {
		t.Error("the zero prefix was accepted")
	}
}

func TestPlanSix(t *testing.T) {
	four := netip.MustParsePrefix("10.111.0.0/16")
	for _, tc := range []struct{ prefix, first, last string }{ // "": refused
		{"fd6f:7865:72::/64", "fd6f:7865:72::a6f:2", "fd6f:7865:72::a6f:fffe"},
		{"2001:db8:0:0:1:2::/96", "2001:db8::1:2:a6f:2", "2001:db8::1:2:a6f:fffe"},
		{"fd6f::/97", "", ""},
		{"fd6f::1/64", "", ""},
		{"10.111.0.0/16", "", ""},
		{"::ffff:0:0/96", "", ""},
		{"fe80::/64", "", ""},
		{"ff02::/64", "", ""},
	} {
		p, err := newAddressPlan(four, netip.MustParsePrefix(tc.prefix))
		if (err == nil) != (tc.first != "") {
			t.Errorf("%s: %v", tc.prefix, err)
		}
		if err != nil {
			continue
		}
		if first, last := p.addr6(1).String(),
			p.addr6(p.max).String(); first != tc.first || last != tc.last {
			t.Errorf("%s: %s to %s, want %s to %s", tc.prefix, first, last, tc.first, tc.last)
		}
	}
	if p, err := newAddressPlan(four, netip.Prefix{}); err != nil ||
		p.addr6(1).IsValid() {
		t.Errorf("without a prefix: %v, %v", p.addr6(1), err)
	}
}

// Addresses mean the nodes that have them, and no others.
func TestPlanInverse(t *testing.T) {
	for _, prefixes := range [][2]netip.Prefix{{DefaultPrefix, DefaultPrefix6},
		{netip.MustParsePrefix("10.0.0.0/8"), {}},
		{netip.MustParsePrefix("192.168.7.8/29"), DefaultPrefix6}} {
		p, err := newAddressPlan(prefixes[0], prefixes[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []uint32{1, 2, p.max - 1, p.max} {
			if got := p.id(p.addr(id)); got != id {
				t.Errorf("%v: %v is node %d, want %d", p.prefix, p.addr(id), got, id)
			}
			if a := p.addr6(id); a.IsValid() && p.id(a) != id {
				t.Errorf("%v: %v is node %d, want %d", p.prefix6, a, p.id(a), id)
			}
			if mapped := netip.AddrFrom16(p.addr(id).As16()); p.id(mapped) != id {
				t.Errorf("%v: %v is node %d, want %d", p.prefix, mapped, p.id(mapped), id)
			}
		}
		for _, a := range []netip.Addr{{}, p.prefix.Addr(), p.prefix.Addr().Next(),
			p.addr(p.max).Next(), netip.MustParseAddr("11.0.0.2"),
			netip.MustParseAddr("fd6f:7865:72:0:1::a6f:2"),
			netip.MustParseAddr("fd6f:7865:72::b6f:2"),
			netip.MustParseAddr("fd6f:7865:73::a6f:2")} {
			if id := p.id(a); id != 0 {
				t.Errorf("%v: %v is node %d", p.prefix, a, id)
			}
		}
	}
	if id := (addressPlan{}).id(DefaultPrefix.Addr()); id != 0 {
		t.Errorf("no network: node %d", id)
	}
}
