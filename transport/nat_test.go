package transport

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

func TestMain(m *testing.M) { natlab.Main(m) }

// newNATLab makes a lab whose nodes are on hosts of their own.
func newNATLab(t *testing.T, net *natlab.Lab, hosts map[uint32]*natlab.Host) *lab {
	t.Helper()
	public, err := net.Public(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	on := func(h *natlab.Host, addr netip.AddrPort) (s *Socket, err error) {
		err = h.Do(func() error {
			s, err = Listen(addr)
			return err
		})
		return s, err
	}
	server, err := on(public, netip.AddrPortFrom(public.Addr(), 443))
	if err != nil {
		t.Fatal(err)
	}
	return newLabOn(t, server, func(id uint32) (*Socket,
		error) {
		return on(hosts[id], netip.AddrPort{})
	})
}

// onHost gives a node its host's name.
func onHost(h *natlab.Host) func(*Config) { return func(c *Config) { c.Host = h.Name() } }

func TestNATs(t *testing.T) {
	t.Parallel()
	const public = natlab.Mapping(-1)
	for _, tc := range []struct {
		a, b natlab.Mapping
		want Kind
		long bool // not in a short run
	}{
		{natlab.EndpointIndependent, natlab.EndpointIndependent, KindPunched, false},
		{natlab.EndpointIndependent, public, KindPunched, true},
		{public, natlab.Symmetric, KindPunched, false},
		{public, public, KindPunched, true},
		// Filters are port-restricted, and a symmetric NAT's port is not known: RFC 5128
		// section 3.3.5.
		{natlab.EndpointIndependent, natlab.Symmetric, KindRelayed, false},
		{natlab.Symmetric, natlab.Symmetric, KindRelayed, true},
	} {
		if tc.long && testing.Short() {
			continue
		}
		name := func(m natlab.Mapping) string {
			if m == public {
				return "public"
			}
			return m.String()
		}
		t.Run(fmt.Sprintf("%s to %s", name(tc.a), name(tc.b)), func(t *testing.T) {
			t.Parallel()
			net := natlab.ForTest(t)
			hosts := map[uint32]*natlab.Host{}
			for id, m := range map[uint32]natlab.Mapping{1: tc.a, 2: tc.b} {
				var err error
				if m == public {
					hosts[id], err = net.Public(t.Context(), fmt.Sprint("host", id))
				} else {
					hosts[id], err = net.NATed(t.Context(), fmt.Sprint("host", id),
						natlab.NAT{Mapping: m})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			l := newNATLab(t, net, hosts)
			a, b := l.node(1, onHost(hosts[1])), l.node(2, onHost(hosts[2]))
			eventually(t, "both know their addresses",
				func() bool { return a.reflexive().IsValid() && b.reflexive().IsValid() })
			start := time.Now()
			s := a.open(t, 2)
			exchange(t, s, "hello")
			t.Logf("first byte after %v, path %+v", time.Since(start), a.Paths())
			eventually(t, "the path is "+tc.want.String(),
				func() bool { return s.Kind() == tc.want })
			if tc.want == KindPunched &&
				a.Paths()[0].Remote.Addr() != hosts[2].External() {
				t.Errorf("the path is %+v, want it to %v", a.Paths()[0],
					hosts[2].External())
			}
			pump(t, s, 1<<20, nil)
		})
	}
}

func TestSameNetwork(t *testing.T) {
	t.Parallel()
	net := natlab.ForTest(t)
	router, err := net.Router(t.Context(), "router", natlab.NAT{})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[uint32]*natlab.Host{}
	for id := range uint32(2) {
		if hosts[id+1], err = router.Host(t.Context(),
			fmt.Sprint("host", id+1)); err != nil {
			t.Fatal(err)
		}
	}
	l := newNATLab(t, net, hosts)
	a := l.node(1, onHost(hosts[1]))
	l.node(2, onHost(hosts[2]))
	s := a.open(t, 2)
	exchange(t, s, "hello")
	eventually(t, "the path is lan", func() bool { return s.Kind() == KindLAN })
}

// twoNATs makes two nodes behind a NAT each, and a stream between them.
func twoNATs(t *testing.T, nat natlab.NAT, change ...func(*Config)) (a, b *labNode,
	hosts map[uint32]*natlab.Host, s *Stream) {
	t.Helper()
	net := natlab.ForTest(t)
	hosts = map[uint32]*natlab.Host{}
	for id := range uint32(2) {
		var err error
		if hosts[id+1], err = net.NATed(t.Context(), fmt.Sprint("host", id+1),
			nat); err != nil {
			t.Fatal(err)
		}
	}
	l := newNATLab(t, net, hosts)
	a = l.node(1, append(change, onHost(hosts[1]))...)
	b = l.node(2, append(change, onHost(hosts[2]))...)
	s = a.open(t, 2)
	exchange(t, s, "hello")
	eventually(t, "a path is punched", func() bool {
		return a.kind(2) == KindPunched &&
			b.kind(1) == KindPunched
	})
	return a, b, hosts, s
}

// A NAT forgets what is idle sooner than the stream has something to say.
func TestNATTimeout(t *testing.T) {
	t.Parallel()
	a, _, _, s := twoNATs(t, natlab.NAT{Timeout: time.Second}, func(c *Config) {
		c.Timers.KeepAlive, c.Timers.Refresh = 300*time.Millisecond, 300*time.Millisecond
	})
	before := a.current(2)
	// Twice what the NAT grants. What is tested is that nothing happens: no event tells.
	time.Sleep(2 * time.Second)
	exchange(t, s, "still there")
	if k := s.Kind(); k != KindPunched || a.current(2) != before {
		t.Errorf("kind %v, want punched, over the same connection", k)
	}
}

// A NAT starts again and gives other ports: the stream lives on.
func TestNATRebind(t *testing.T) {
	t.Parallel()
	a, b, hosts, s := twoNATs(t, natlab.NAT{})
	before, old := a.current(2), a.reflexive()
	times := 1
	if old.Port() >= 30000 && old.Port() < 40000 {
		// the lab's first new range is this one, and a NAT keeps a port that it may keep
		times = 2
	}
	for range times {
		if err := hosts[1].Router().Rebind(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	exchange(t, s, "with a new mapping")
	t.Logf("after a rebind: %v", time.Since(start))
	eventually(t, "the new address is known", func() bool { return a.reflexive() != old })
	eventually(t, "a path is punched again",
		func() bool { return a.kind(2) == KindPunched && b.kind(1) == KindPunched })
	exchange(t, s, "the same stream")
	if a.current(2) != before {
		t.Error("the connection has changed")
	}
}

// The Internet between the two NATs fails, and mends.
func TestCut(t *testing.T) {
	t.Parallel()
	a, b, hosts, s := twoNATs(t, natlab.NAT{})
	if err := hosts[1].Cut(t.Context(), hosts[2]); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	exchange(t, s, "by the relay")
	t.Logf("after a cut: %v", time.Since(start))
	pump(t, s, 1<<20, nil)
	if err := hosts[1].Mend(t.Context(), hosts[2]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a path is punched again",
		func() bool { return a.kind(2) == KindPunched && b.kind(1) == KindPunched })
	exchange(t, s, "the same stream")
}
