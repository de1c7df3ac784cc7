package netif

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRouteTo compares routes with what "ip route get" shows of a host with such
// addresses.
func TestRouteTo(t *testing.T) {
	h := dualHost()
	for _, tc := range []struct {
		dst, gateway, src string
		link              int32
		kind              uint8
	}{
		{"10.111.7.7", "", "10.111.0.2", InterfaceIndex, unix.RTN_UNICAST},
		{"10.111.0.2", "", "10.111.0.2", InterfaceIndex, unix.RTN_LOCAL},
		{"192.0.2.1", "10.111.255.254", "10.111.0.2", InterfaceIndex, unix.RTN_UNICAST},
		{"127.5.5.5", "", "127.0.0.1", 1, unix.RTN_LOCAL},
		{"0.0.0.0", "", "127.0.0.1", 1, unix.RTN_LOCAL},
		{"fd6f:7865:72::a6f:7", "", "fd6f:7865:72::a6f:2", InterfaceIndex,
			unix.RTN_UNICAST},
		{"::1", "", "::1", 1, unix.RTN_LOCAL},
	} {
		r, ok := h.RouteTo(netip.MustParseAddr(tc.dst))
		gateway := ""
		if r.Gateway.IsValid() {
			gateway = r.Gateway.String()
		}
		if !ok || r.Dst.String() != netip.PrefixFrom(r.Dst.Addr(),
			r.Dst.Addr().BitLen()).String() ||
			r.Dst.Addr().String() != tc.dst || gateway != tc.gateway ||
			r.Src.String() != tc.src || r.Link != tc.link || r.Type != tc.kind {
			t.Errorf("%s: %+v, %v", tc.dst, r, ok)
		}
	}
	if r, ok := h.RouteTo(netip.MustParseAddr("2001:db8::1")); ok {
		t.Errorf("a route to the IPv6 Internet: %+v", r)
	}
}

// TestGateways holds that no node has the address of a gateway.
func TestGateways(t *testing.T) {
	h := dualHost()
	if got := h.Gateway().String(); got != "10.111.255.254" {
		t.Errorf("the IPv4 gateway is %s", got)
	}
	if got := h.Gateway6().String(); got != "fd6f:7865:72::a6f:fffe" {
		t.Errorf("the IPv6 gateway is %s", got)
	}
	h.Addr6 = netip.Prefix{}
	if got := h.Gateway6(); got.IsValid() {
		t.Errorf("a host without an IPv6 address has the gateway %s", got)
	}
}
