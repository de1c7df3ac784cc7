package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseReverse(t *testing.T) {
	// RFC 1886
	v6 := "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"
	for _, tc := range []struct{ name, want string }{
		{"2.0.111.10.in-addr.arpa", "10.111.0.2/32"},
		{"111.10.in-addr.arpa", "10.111.0.0/16"},
		{v6, "4321:0:1:2:3:4:567:89ab/128"},
		{strings.TrimPrefix(v6, "b.a."), "4321:0:1:2:3:4:567:8900/120"},
		{"in-addr.arpa", ""},
		{".in-addr.arpa", ""},
		{"1.2.3.4.5.in-addr.arpa", ""},
		{"256.0.0.10.in-addr.arpa", ""},
		{"01.0.0.10.in-addr.arpa", ""},
		{"+1.0.0.10.in-addr.arpa", ""},
		{"x.0.0.10.in-addr.arpa", ""},
		{"0." + v6, ""},
		{"10.ip6.arpa", ""},
		{"2.0.111.10", ""},
	} {
		got, ok := parseReverse(tc.name)
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("%s: got %v, %t; want %s", tc.name, got, ok, tc.want)
		}
	}
}

func TestParseResolvConf(t *testing.T) {
	for _, tc := range []struct {
		name, in        string
		servers, search []string
	}{
		{name: "empty"},
		{name: "usual", in: "# comment\nsearch Corp.example. lab\nnameserver 192.0.2.1\nnameserver\t::1 # why\noptions ndots:5\n",
			servers: []string{"192.0.2.1", "::1"},
			search:  []string{"corp.example", "lab"}},
		{name: "last of domain and search", in: "search a b\ndomain c d\n",
			search: []string{"c"}},
		{name: "three nameservers", in: "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4",
			servers: []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"}},
		{name: "nonsense", in: "nameserver\nnameserver name\n;nameserver 1.1.1.1\nsearch . \n\x00\xff"},
		{name: "zone, mapped", in: "nameserver fe80::1%lo\nnameserver ::ffff:9.9.9.9\n",
			servers: []string{"fe80::1%lo", "9.9.9.9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := parseResolvConf(strings.NewReader(tc.in))
			var servers []string
			for _, s := range got.servers {
				servers = append(servers, s.String())
			}
			if !slices.Equal(servers, tc.servers) ||
				!slices.Equal(got.search, tc.search) {
				t.Errorf("got %v, search %v; want %v, search %v", servers, got.search,
					tc.servers, tc.search)
			}
		})
	}
}

func FuzzParseReverse(f *testing.F) {
	f.Add("2.0.111.10.in-addr.arpa")
	f.Add("1.0.ip6.arpa")
	f.Fuzz(func(t *testing.T, name string) {
		p, ok := parseReverse(name)
		if !ok || !p.Addr().Is4() {
			return
		}
		a := p.Addr().As4()
		var want string // only one name stands for a prefix
		for i := p.Bits()/8 - 1; i >= 0; i-- {
			want += fmt.Sprintf("%d.", a[i])
		}
		if want += "in-addr.arpa"; want != name ||
			p != netip.PrefixFrom(p.Addr(), p.Bits()).Masked() {
			t.Fatalf("%q came out as %v, the name of which is %q", name, p, want)
		}
	})
}
