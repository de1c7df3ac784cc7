package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// own gives a node a loopback address of its own.
func own(t *testing.T, addr string) func(*Config) {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func(config *Config) { config.Own = c }
}

// forging changes a node's offers on their way.
func forging(change func(*offer)) func(*Config) {
	return func(c *Config) {
		c.Signaller = forger{c.Signaller, change}
	}
}

type forger struct {
	Signaller
	change func(*offer)
}

func (f forger) Signal(ctx context.Context, to uint32, msg []byte) error {
	o, err := parseOffer(msg)
	if err != nil {
		return err
	}
	f.change(o)
	return f.Signaller.Signal(ctx, to, o.appendTo(nil))
}

func ownOf(n *labNode) netip.AddrPort { return n.config.Own.LocalAddr().(*net.UDPAddr).AddrPort() }

// claims makes an offer say that an address is the sender's own.
func claims(o *offer, addr netip.AddrPort) {
	for i, c := range o.candidates {
		if c.kind == candidateOwn {
			o.candidates[i].addr = addr
			return
		}
	}
	o.candidates = append([]candidate{{candidateOwn, addr}}, o.candidates...)
}

func TestNeighbour(t *testing.T) {
	l := newLab(t)
	a, b := l.node(1, own(t, "127.77.0.16:0")), l.node(2, own(t, "127.77.0.32:0"))
	other := l.node(3)
	elsewhere := l.node(4, own(t, "127.77.0.48:0"),
		func(c *Config) { c.Host = "another" })
	for _, n := range []*labNode{b, other, elsewhere} {
		exchange(t, a.open(t, n.id), "hello")
	}
	for range 3 {
		if got, err := a.Neighbour(t.Context(), 2); err != nil || got != ownOf(b) {
			t.Errorf("own address of b: %v, %v; want %v", got, err, ownOf(b))
		}
		if got, err := b.Neighbour(t.Context(), 1); err != nil || got != ownOf(a) {
			t.Errorf("own address of a: %v, %v; want %v", got, err, ownOf(a))
		}
	}
	for _, id := range []uint32{3, 4} {
		if got, err := a.Neighbour(t.Context(), id); !errors.Is(err, ErrNotNeighbour) {
			t.Errorf("node %d: %v, %v; want %v", id, got, err, ErrNotNeighbour)
		}
	}
	if _, err := a.Neighbour(t.Context(), 9); !errors.Is(err, ErrNoPeer) {
		t.Errorf("nobody: %v, want %v", err, ErrNoPeer)
	}
}

// A peer on another host cannot pass off an address of this host as its own, also not
// with the help of those who have it.
func TestNeighbourLies(t *testing.T) {
	silent := own(t, "127.77.1.16:0")
	for _, tc := range []struct {
		name string
		lie  func(o *offer, victim, other *labNode)
	}{
		{"nobody has it", func(o *offer, _,
			_ *labNode) {
			claims(o, netip.MustParseAddrPort("127.77.9.9:49151"))
		}},
		{"somebody has it who does not answer", func(o *offer, _, _ *labNode) {
			var c Config
			silent(&c)
			claims(o, c.Own.LocalAddr().(*net.UDPAddr).AddrPort())
		}},
		{"another node has it, whose credentials are passed off, too",
			func(o *offer, _, other *labNode) {
				p, _ := other.peer(3)
				o.credentials = p.probes.ours
				claims(o, ownOf(other))
			}},
		{"another node's socket answers there", func(o *offer, _, other *labNode) {
			p, _ := other.peer(3)
			o.credentials = p.probes.ours
			claims(o, other.socket.LocalAddr())
		}},
		{"it is the asking node's own", func(o *offer, victim, _ *labNode) {
			p, _ := victim.peer(3)
			o.credentials = p.probes.ours
			claims(o, ownOf(victim))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			victim := l.node(1, own(t, "127.77.1.32:0"))
			other := l.node(2, own(t, "127.77.1.48:0"))
			var lie atomic.Pointer[func(*offer)]
			evil := l.node(3, forging(func(o *offer) {
				if f := lie.Load(); f != nil {
					(*f)(o)
				}
			}))
			exchange(t, victim.open(t, 3), "hello")
			exchange(t, other.open(t, 3), "hello")
			exchange(t, victim.open(t, 2), "hello")

			to := func(o *offer) { tc.lie(o, victim, other) }
			lie.Store(&to)
			o := &offer{credentials: newCredentials(), host: "lab"}
			if err := evil.config.Signaller.Signal(t.Context(), 1,
				o.appendTo(nil)); err != nil {
				t.Fatal(err)
			}
			if got, err := victim.Neighbour(t.Context(), 3); !errors.Is(err,
				ErrNotNeighbour) {
				t.Errorf("own address of a peer that is not here: %v, %v; want %v", got,
					err, ErrNotNeighbour)
			}
			if victim.MayBeNeighbour(3) {
				t.Error("the peer is asked again at once")
			}
			if got, err := victim.Neighbour(t.Context(), 2); err != nil ||
				got != ownOf(other) {
				t.Errorf("own address of the true neighbour: %v, %v", got, err)
			}
		})
	}
}

// Who does not wait is not held up by a peer that does not answer.
func TestNeighbourCanceled(t *testing.T) {
	l := newLab(t)
	victim := l.node(1)
	l.node(2, forging(func(o *offer) { claims(o, netip.MustParseAddrPort("127.77.9.9:49151")) }))
	exchange(t, victim.open(t, 2), "hello")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := victim.Neighbour(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
	if !victim.MayBeNeighbour(2) {
		t.Error("the peer counts as refuted, though nobody waited")
	}
}

// TestNeighbourBeforeOffer asks before the peer's offer has come, as its connection can
// be there first: that is waited for.
func TestNeighbourBeforeOffer(t *testing.T) { virtual(t, testNeighbourBeforeOffer) }

func testNeighbourBeforeOffer(t *testing.T, l *lab) {
	a := l.node(1)
	l.node(2)
	began := time.Now()
	if _, err := a.Neighbour(t.Context(), 2); !errors.Is(err, ErrNotNeighbour) {
		t.Errorf("got %v, want %v", err, ErrNotNeighbour)
	}
	if took := time.Since(began); took != proveWithin {
		t.Errorf("given up after %v, want %v", took, proveWithin)
	}
}
