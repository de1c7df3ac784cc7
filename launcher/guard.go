package launcher

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// A guard decides which connections and datagrams of other nodes reach the programs of
// this one. Two things limit them: the network's policy, and the ports that this node
// offers. The node that is connected to decides, because the one that connects may be the
// one to defend against.
type guard struct {
	members accessList
	offered *policy.Ports // nil: all
	open    atomic.Bool   // nothing is limited

	mu      sync.Mutex
	streams map[*transport.Stream]struct{} // accepted, and not yet ended
	// UDP that this node sends, and when it last did
	flows map[udpFlow]time.Time
	swept time.Time // when expired flows were last removed
}

// An accessList says what a network's policy allows.
type accessList interface {
	Access(peer uint32) policy.Ports // of this node's ports
	Restricted() bool                // not everything is allowed
}

// A udpFlow is the two ends of a program's datagrams.
type udpFlow struct{ local, remote netip.AddrPort }

const (
	// flowLife is how long answers to a datagram come in: as connection tracking of Linux
	// has it for UDP in both directions (nf_conntrack_udp_timeout_stream).
	flowLife = 2 * time.Minute

	// maxUDPFlows bounds the flows that a guard remembers, of about 150 bytes each.
	maxUDPFlows = 1 << 16
)

func newGuard(members accessList, offered *policy.Ports) *guard {
	g := &guard{members: members, offered: offered,
		streams: make(map[*transport.Stream]struct{}), flows: make(map[udpFlow]time.Time)}
	g.refresh()
	return g
}

// refresh follows a change of the policy: it resets the streams that are not allowed any
// more. It does not wait.
func (g *guard) refresh() {
	g.open.Store(g.offered == nil && !g.members.Restricted())
	g.mu.Lock()
	var denied []*transport.Stream
	for s := range g.streams {
		if g.admits(s.Peer(), policy.TCP,
			s.Header().Destination.Port()) != transport.StatusOK {
			denied = append(denied, s)
		}
	}
	g.mu.Unlock()
	for _, s := range denied {
		s.Reset()
	}
}

// accept admits a stream, and follows it until the returned function is called. The
// stream is reset if the policy ceases to allow it.
func (g *guard) accept(s *transport.Stream) (status transport.Status, ended func()) {
	// It is known before it is checked, so that no change of the policy misses it.
	g.mu.Lock()
	g.streams[s] = struct{}{}
	g.mu.Unlock()
	return g.admits(s.Peer(), policy.TCP, s.Header().Destination.Port()), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.streams, s)
	}
}

// admits returns StatusOK if another node may connect to a port of this one. The policy's
// refusal is StatusForbidden. A port that this node does not offer is refused as a port
// on which nobody listens.
func (g *guard) admits(peer uint32, proto policy.Proto, port uint16) transport.Status {
	switch {
	case g.open.Load():
		return transport.StatusOK
	case !g.members.Access(peer).Has(proto, port):
		return transport.StatusForbidden
	case g.offered != nil && !g.offered.Has(proto, port):
		return transport.StatusRefused
	}
	return transport.StatusOK
}

// mayOpen reports whether a peer is told of a listener.
func (g *guard) mayOpen(peer uint32, dst netip.AddrPort) bool {
	return g.admits(peer, policy.TCP, dst.Port()) == transport.StatusOK
}

// noteSent remembers that a program has sent a datagram, so that answers come in.
func (g *guard) noteSent(local, remote netip.AddrPort) {
	if g.open.Load() {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	f := udpFlow{local, remote}
	if _, known := g.flows[f]; !known && len(g.flows) >= maxUDPFlows {
		if now.Sub(g.swept) < flowLife/8 {
			return
		}
		g.swept = now
		for f, sent := range g.flows {
			if now.Sub(sent) >= flowLife {
				delete(g.flows, f)
			}
		}
	}
	g.flows[f] = now
}

// answers reports whether a datagram from remote answers one that a program has sent.
func (g *guard) answers(local, remote netip.AddrPort) bool {
	if g.open.Load() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	sent, ok := g.flows[udpFlow{local, remote}]
	return ok && time.Since(sent) < flowLife
}

// admitsDatagram reports whether a datagram of another node reaches the program.
func (g *guard) admitsDatagram(peer uint32, d *transport.Datagram) bool {
	switch d.Kind {
	case transport.DatagramUDP:
		return g.admits(peer, policy.UDP, d.Destination.Port()) == transport.StatusOK ||
			g.answers(d.Destination, d.Source)
	case transport.DatagramUnreachable:
		return g.answers(d.Destination, d.Source)
	}
	return true // echo: nodes that see each other may ping each other
}
