package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
)

func TestCoordinatorFlags(t *testing.T) {
	good := coordinatorFlags{lease: coordinator.DefaultLease, prefix6: "none",
		quiet: true}
	for _, tc := range []struct {
		name   string
		change func(*coordinatorFlags)
		want   string // empty: it is right
	}{
		{"as it is", func(*coordinatorFlags) {}, ""},
		{"shortest lease", func(f *coordinatorFlags) { f.lease = time.Second }, ""},
		{"negative lease", func(f *coordinatorFlags) { f.lease = -5 * time.Second },
			"--lease -5s"},
		{"no lease", func(f *coordinatorFlags) { f.lease = 0 }, "--lease 0s"},
		{"long lease", func(f *coordinatorFlags) { f.lease = 2 * time.Hour },
			"--lease 2h"},
		{"negative idle exit", func(f *coordinatorFlags) { f.idleExit = -1 },
			"--idle-exit"},
		{"negative ttl", func(f *coordinatorFlags) { f.tokenTTL = -1 }, "--token-ttl"},
		{"loopback", func(f *coordinatorFlags) { f.prefix = "127.0.0.0/8" }, "loopback"},
		{"everything", func(f *coordinatorFlags) { f.prefix = "0.0.0.0/0" },
			"take a private network such as"},
		{"too small", func(f *coordinatorFlags) { f.prefix = "10.9.8.0/30" },
			"at most /29"},
		{"no prefix", func(f *coordinatorFlags) { f.prefix = "10.9.8" },
			"not a CIDR such as"},
		{"no prefix6", func(f *coordinatorFlags) { f.prefix6 = "x" }, "not a CIDR"},
	} {
		f := good
		tc.change(&f)
		err := f.checkTimes()
		if err == nil {
			_, _, err = f.prefixes()
		}
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil ||
			!strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v; want %q", tc.name, err, tc.want)
		}
	}
	own, ok := ownAddress()
	if !ok {
		return // a host with loopback alone
	}
	bits := netip.PrefixFrom(own, 24).Masked()
	f := good
	f.prefix = bits.String()
	if _, _, err := f.prefixes(); err == nil ||
		!strings.Contains(err.Error(), "covers this host's own network") {
		t.Errorf("%v, where this host is %v: %v", bits, own, err)
	}
}

func TestJoinHost(t *testing.T) {
	at := netip.MustParseAddrPort("203.0.113.1:4433")
	for host, want := range map[string]string{
		"": "203.0.113.1:4433", "c.example.com": "c.example.com:4433",
		"c.example.com:7": "c.example.com:7", "192.0.2.1": "192.0.2.1:4433",
	} {
		f := coordinatorFlags{host: host, quiet: true}
		if got, err := f.joinHost(at); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", host, got, err, want)
		}
	}
	f := coordinatorFlags{host: "::1:2:3", quiet: true}
	if got, err := f.joinHost(at); err == nil ||
		!strings.Contains(err.Error(), "such as") {
		t.Errorf("%q: %q, %v", f.host, got, err)
	}
	f = coordinatorFlags{quiet: true}
	own, _ := ownAddress()
	if got, _ := f.joinHost(netip.MustParseAddrPort("0.0.0.0:4433")); got != own.String()+":4433" {
		t.Errorf("the wildcard address: %q, want %v", got, own)
	}
}
