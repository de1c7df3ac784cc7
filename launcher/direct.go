package launcher

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
	"github.com/boxer-sandbox/boxer/transport/direct"
)

// directPaths let the kernel's TCP carry connections between this node and others, whose
// bytes nothing encrypts then.
type directPaths struct {
	m     *member
	port  *direct.Port
	peers *direct.Peers
}

// allowsDirect reports whether the network's owner and this node allow bytes in the
// clear.
func (m *member) allowsDirect(own coordinator.DataPath) bool {
	return own != coordinator.DataPathQUIC &&
		m.client.DataPath() == coordinator.DataPathDirect
}

// openDirect makes that connections may be direct, if this host can do it.
func (m *member) openDirect(node *syscalls.Node) {
	if !node.CanDirect() {
		m.log.Info("connections go over QUIC: this kernel does not tell when sockets close")
		return
	}
	port, err := direct.OpenPort()
	if err != nil {
		m.log.Warn("connections go over QUIC", "err", err)
		return
	}
	d := &directPaths{m: m, port: port}
	d.peers = direct.NewPeers(d.trial)
	m.direct.Store(d)
}

// close ends what openDirect has made; d may be nil. Connections stay.
func (d *directPaths) close() {
	if d == nil {
		return
	}
	d.peers.Close()
	if err := d.port.Close(); err != nil {
		d.m.log.Debug("close the direct port", "err", err)
	}
}

// forget forgets a peer that is gone; d may be nil.
func (d *directPaths) forget(peer uint32) {
	if d != nil {
		d.peers.Forget(peer)
	}
}

// wayTo returns how packets reach a peer, if TCP may take the same way. The coordinator
// relays no TCP, and nodes of one host connect over loopback.
func (d *directPaths) wayTo(peer uint32) (w direct.Way, rtt time.Duration, ok bool) {
	info, ok := d.m.node.Path(peer)
	if !ok || info.Kind != transport.KindLAN && info.Kind != transport.KindPunched ||
		!info.Remote.Addr().Is4() {
		return direct.Way{}, 0, false
	}
	return direct.Way{To: info.Remote.Addr(), LAN: info.Kind == transport.KindLAN},
		info.RTT, true
}

// reaches reports whether the kernel's TCP is known to reach a peer; d may be nil.
func (d *directPaths) reaches(peer uint32) bool {
	if d == nil {
		return false
	}
	tried, err := d.peers.Reaches(peer)
	return tried && err == nil
}

// pathTo returns the direct path to a peer if one is known. If nothing is known, it has
// that found out.
func (d *directPaths) pathTo(peer uint32) (p direct.Path, rtt time.Duration, ok bool) {
	// A direct connection could not be reset when a policy changes.
	if d == nil || d.m.client.Restricted() {
		return direct.Path{}, 0, false
	}
	way, rtt, ok := d.wayTo(peer)
	if ok {
		p, ok = d.peers.Path(peer, way)
	}
	return p, rtt, ok
}

// prepareWithin bounds how long the start of a program waits for direct paths.
const prepareWithin = time.Second

// prepare finds direct paths to the nodes that the program is going to need, so that its
// first connections are direct, too; d may be nil.
func (d *directPaths) prepare(ctx context.Context, nodes []WaitFor) {
	if d == nil || len(nodes) == 0 || d.m.client.Restricted() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareWithin)
	defer cancel()
	var all sync.WaitGroup
	for _, w := range nodes {
		for _, who := range d.m.client.LookupName(w.Name) {
			all.Go(func() {
				if d.m.node.Connect(ctx, who.ID) != nil {
					return
				}
				if way, ok := d.awaitWay(ctx, who.ID); ok {
					d.peers.Settle(ctx, who.ID, way)
				}
			})
		}
	}
	all.Wait()
}

// A path through the NATs may follow the one through the coordinator: prepare looks for
// it every wayLook, for wayWithin.
const (
	wayLook   = 10 * time.Millisecond
	wayWithin = 200 * time.Millisecond
)

// awaitWay is wayTo, but waits for a moment.
func (d *directPaths) awaitWay(ctx context.Context, peer uint32) (w direct.Way, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, wayWithin)
	defer cancel()
	t := time.NewTicker(wayLook)
	defer t.Stop()
	for {
		info, found := d.m.node.Path(peer)
		if w, _, ok = d.wayTo(peer); ok || found && info.Kind == transport.KindLocal {
			return w, ok
		}
		select {
		case <-ctx.Done():
			return w, false
		case <-t.C:
		}
	}
}

// trial is a [direct.Trial].
func (d *directPaths) trial(ctx context.Context, peer uint32,
	w direct.Way) (direct.Path, error) {
	who, ok := d.m.client.ByID(peer)
	if !ok {
		return direct.Path{}, transport.ErrNoPeer
	}
	ctx, cancel := context.WithTimeout(ctx, trialWithin)
	defer cancel()
	s, err := d.m.node.OpenExisting(ctx, peer, transport.Header{
		Source:      netip.AddrPortFrom(d.m.client.Self().Addr, 0),
		Destination: netip.AddrPortFrom(who.Addr, 0), DirectTrial: true})
	if err != nil {
		return direct.Path{}, fmt.Errorf("trial: %w", err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.Reset)()
	_, rtt, _ := d.wayTo(peer)
	p, err := direct.Dial(ctx, s, w.To, w.LAN, rtt)
	d.m.log.Debug("direct trial", "peer", peer, "to", w.To, "lan", w.LAN, "path", p,
		"err", err)
	return p, err
}

// trialWithin bounds a trial: it has two attempts of some two seconds, and round trips.
const trialWithin = 15 * time.Second

// acceptTrial is the other end of a peer's trial; d may be nil. The peer may not know yet
// that a policy forbids direct connections.
func (d *directPaths) acceptTrial(s *transport.Stream) {
	if d == nil || d.m.client.Restricted() {
		s.Answer(transport.StatusForbidden)
		return
	}
	way, rtt, ok := d.wayTo(s.Peer())
	if !ok {
		s.Answer(transport.StatusUnreachable)
		return
	}
	if s.Answer(transport.StatusOK) != nil {
		return
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), trialWithin)
	defer cancel()
	defer context.AfterFunc(ctx, s.Reset)()
	if err := direct.Accept(ctx, s, d.port, way.To, rtt); err != nil {
		d.m.log.Debug("direct trial", "peer", s.Peer(), "err", err)
	}
}

// tryDirect has it found out whether connections to an address can be direct.
func (n network) tryDirect(dst netip.AddrPort) {
	d := n.m.direct.Load()
	if d == nil {
		return
	}
	if to, ok := n.m.client.ByAddr(dst.Addr()); ok && !to.Asleep {
		d.pathTo(to.ID)
	}
}

// DialDirect implements syscalls.Network.
func (n network) DialDirect(dst netip.AddrPort) (syscalls.DirectDial, bool) {
	d := n.m.direct.Load()
	if d == nil {
		return nil, false
	}
	to, ok := n.m.client.ByAddr(dst.Addr())
	if !ok || to.Asleep { // Dial waits for it, or fails
		return nil, false
	}
	path, rtt, ok := d.pathTo(to.ID)
	if !ok {
		return nil, false
	}
	s, ok := n.m.node.ReserveOptimistic(to.ID, dst)
	if !ok {
		return nil, false
	}
	return &directDial{n: n, d: d, peer: to.ID, dst: dst, path: path, rtt: rtt, s: s}, true
}

var _ syscalls.DirectDial = (*directDial)(nil)

// A directDial is a connection of a program's that is to be direct.
type directDial struct {
	n    network
	d    *directPaths
	peer uint32
	dst  netip.AddrPort
	path direct.Path
	rtt  time.Duration
	s    *transport.Stream
	f    *connTrace // nil: it is not traced
}

func (d *directDial) To() netip.AddrPort { return d.path.To }
func (d *directDial) MSS() int           { return d.path.MSS }

// A direct connect may take establishWithin, and four round trips. Then QUIC carries the
// connection. The kernel sends a SYN that was lost again after a second (tcp(7)): QUIC is
// faster. A program that polls its socket could notice that this leaves TCP: there the
// kernel's own retransmissions, after one and three seconds, come first.
const (
	establishWithin       = 500 * time.Millisecond
	establishPolledWithin = 3500 * time.Millisecond
)

func (d *directDial) Within(polls bool) time.Duration {
	if polls {
		return establishPolledWithin + 4*d.rtt
	}
	return establishWithin + 4*d.rtt
}

func (d *directDial) Begin(src netip.AddrPort, port uint16) error {
	h := transport.Header{Source: src, Destination: d.dst, DirectPort: port}
	if r := d.n.r.Load(); r != nil {
		h.Trace = uint64(newConnID())
		d.f = r.newConnTrace(trace.ConnID(h.Trace), trace.RoleConnect, "tcp",
			syscalls.Ends{Local: src, Remote: d.dst})
	}
	err := d.s.Begin(h)
	if err == nil {
		err = d.s.Flush()
	}
	return err
}

func (d *directDial) Established() (ended func(sent, received uint64)) {
	if err := d.s.SettleDirect(true); err != nil {
		d.n.m.log.Debug("direct connection", "peer", d.peer, "err", err)
	}
	if d.f == nil {
		return nil
	}
	return d.f.openDirect()
}

func (d *directDial) Stream() (syscalls.Stream, error) {
	d.d.peers.Failed(d.peer, d.path)
	if err := d.s.SettleDirect(false); err != nil {
		d.s.Reset()
		return nil, err
	}
	s := d.n.m.inbounds.follow(d.s)
	if d.f == nil {
		return s, nil
	}
	return d.f.traced(s), nil
}

func (d *directDial) Reset()  { d.s.Reset() }
func (d *directDial) Cancel() { d.s.Cancel() }

// deliverDirect accepts a connection that a peer wants to be direct. over is false if it
// comes over the stream after all.
func deliverDirect(node *syscalls.Node, n network, s *transport.Stream) (over bool) {
	ctx, cancel := context.WithTimeout(context.Background(), acceptWithin)
	defer cancel()
	h := s.Header()
	over, err := node.AcceptDirect(ctx, h.Source, h.Destination,
		func(domain int) (int, error) {
			d := n.m.direct.Load()
			// The peer may not know the policy yet, or ignore it.
			if d == nil || n.m.client.Restricted() {
				return -1, errNotDirect
			}
			way, _, ok := d.wayTo(s.Peer())
			if !ok {
				return -1, errNotDirect
			}
			// The dialler's offer bounds the segments of both directions.
			return d.port.Connect(domain, netip.AddrPortFrom(way.To, h.DirectPort), 0)
		}, func() (established bool, ended func(sent, received uint64), err error) {
			if established, err = s.AwaitDirect(); established {
				ended = n.traceDirect(s)
			}
			return established, ended, err
		})
	if err != nil {
		node.Logger.Debug("accept", "from", h.Source, "port", h.Destination.Port(),
			"err", err)
	}
	if over && err == nil && s.LowCredit() {
		s.GrantCredit(node.Credit(h.Destination))
	}
	return over
}

// traceDirect traces a direct connection that a peer has opened. It returns what is to be
// called at its end, nil if there is no trace.
func (n network) traceDirect(s *transport.Stream) (ended func(sent, received uint64)) {
	r := n.r.Load()
	if r == nil {
		return nil
	}
	h := s.Header()
	ends := syscalls.Ends{Local: h.Destination, Remote: h.Source}
	id := trace.ConnID(h.Trace)
	if id == 0 {
		id = derivedConnID(ends, s.ID())
	}
	return r.newConnTrace(id, trace.RoleAccept, "tcp", ends).openDirect()
}

var errNotDirect = errors.New("direct connections to the peer are not possible from here")
