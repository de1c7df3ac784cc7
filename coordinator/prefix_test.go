package coordinator

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestCheckPrefixes(t *testing.T) {
	for _, good := range []string{"10.111.0.0/16", "10.0.0.0/8", "192.168.7.0/29",
		"172.16.0.0/12", "100.64.0.0/10", "198.18.0.0/15"} {
		if err := CheckPrefixes(netip.MustParsePrefix(good), DefaultPrefix6); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"127.0.0.0/8": "loopback", "127.1.2.0/24": "loopback", "126.0.0.0/7": "loopback",
		"0.0.0.0/0": "this host itself",
		"0.0.0.0/8": "this host itself", "169.254.0.0/16": "link-local",
		"169.254.169.0/24": "link-local", "224.0.0.0/8": "multicast",
		"240.0.0.0/8": "reserved", "192.168.7.0/30": "room for only 1",
		"192.168.7.0/31": "no room", "10.1.2.3/16": "no bit set", "fd00::/64": "IPv4",
	} {
		if err := CheckPrefixes(netip.MustParsePrefix(bad), netip.Prefix{}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", bad, err, want)
		}
	}
	for _, bad := range []string{"::/64", "::1/128", "fe80::/64", "ff00::/64",
		"::ffff:0:0/96", "fd00::/97", "fd00::1/64"} {
		if err := CheckPrefixes(DefaultPrefix, netip.MustParsePrefix(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestClash(t *testing.T) {
	addrs := []net.Addr{
		&net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)},
		&net.IPNet{IP: net.IPv4(10, 111, 3, 4), Mask: net.CIDRMask(24, 32)},
		&net.IPNet{IP: net.ParseIP("fd00::5"), Mask: net.CIDRMask(64, 128)},
	}
	for prefix, want := range map[string]bool{
		"10.111.0.0/16": true, "10.0.0.0/8": true, "10.112.0.0/16": false,
		"10.111.4.0/24": false, "fd00::/64": true, "fd01::/64": false,
	} {
		if own, got := clash(addrs, netip.Prefix{},
			netip.MustParsePrefix(prefix)); got != want || got && !own.IsValid() {
			t.Errorf("%s: %v, %v; want %v", prefix, own, got, want)
		}
	}
	if p := freeOf(addrs, DefaultPrefix, others); p == DefaultPrefix ||
		CheckPrefixes(p, DefaultPrefix6) != nil {
		t.Errorf("a host in %v gets %v", DefaultPrefix, p)
	}
	if p := freeOf(addrs[:1], DefaultPrefix, others); p != DefaultPrefix {
		t.Errorf("another host gets %v", p)
	}
	// A program on a network of boxer's may be the coordinator of another.
	inside := []net.Addr{&net.IPNet{IP: net.ParseIP("fd6f:7865:72::a6f:2"),
		Mask: net.CIDRMask(64, 128)}}
	if p := freeOf(inside, DefaultPrefix6, others6); p == DefaultPrefix6 ||
		CheckPrefixes(DefaultPrefix, p) != nil {
		t.Errorf("a host in %v gets %v", DefaultPrefix6, p)
	}
}
