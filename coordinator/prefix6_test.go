package coordinator

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Nodes have IPv6 addresses that follow from their IPv4 ones, and find each other by
// both; where the coordinator has no prefix for them, they have none. A coordinator
// that comes back with another prefix does not know them any more.
func TestPrefix6(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		const lease = 300 * time.Millisecond
		l := newLab(t, ServerConfig{State: load(t, path), Prefix6: DefaultPrefix6, Lease: lease})
		u := l.url(t)
		a := mustEnter(t, u, "a")
		want := netip.MustParseAddr("fd6f:7865:72::a6f:2")
		if got := a.Self().Addr6; got != want || a.Prefix6() != DefaultPrefix6 {
			t.Errorf("a has %v of %v, want %v", got, a.Prefix6(), want)
		}
		b := mustEnter(t, u, "b")
		for _, addr := range []netip.Addr{want, a.Self().Addr} {
			if m, ok := b.ByAddr(addr); !ok || m.ID != a.Self().ID {
				t.Errorf("%v is %+v, %v; want a", addr, m, ok)
			}
		}
		if m := l.Snapshot(); m.Prefix6 != DefaultPrefix6 || m.Members[0].Addr6 != want {
			t.Errorf("the snapshot has %v and %v", m.Prefix6, m.Members[0].Addr6)
		}
		l.kill(t)

		l = newLab(t, ServerConfig{State: load(t, path), Lease: lease})
		for _, g := range []*guest{a, b} {
			select {
			case <-g.Done():
			case <-time.After(patience):
				t.Fatal("still trying")
			}
			if err := g.Err(); !errors.Is(err, ErrEvicted) {
				t.Errorf("got %v, want ErrEvicted", err)
			}
		}
		c := mustEnter(t, l.url(t), "c")
		if got := c.Self().Addr6; got.IsValid() || c.Prefix6().IsValid() {
			t.Errorf("c has %v of %v, want neither", got, c.Prefix6())
		}
	})
}
