package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// A peer is one other node, with the paths to it and the connections over them. It exists
// from the first time that either side wants a connection until RemovePeer.
type peer struct {
	datagrams datagrams

	node  *Node
	id    uint32
	key   Key
	route *route

	account *account

	// the peer was removed: no check may be pending; guarded by pendingTable.mu
	unchecked bool

	ctx    context.Context // ends when the peer is forgotten or the node closes
	cancel context.CancelCauseFunc
	poke   chan struct{} // capacity 1: run has something to do

	mu      sync.Mutex
	probes  prober
	near    neighbourhood
	proofID transactionID // of the last check that asked for a proof
	conns   []*conn
	current *conn         // of conns: for new streams; nil: none
	dial    *dial         // the attempt under way, or nil
	changed chan struct{} // closed and replaced when there is a new path or connection
}

// A dial is an attempt to get a connection. All callers that wait for one share it.
type dial struct {
	done chan struct{}
	err  error // set before done is closed
}

func newPeer(n *Node, who Peer, ours credentials) *peer {
	p := &peer{
		node:    n,
		id:      who.ID,
		key:     who.Key,
		account: &account{budget: n.budget},
		poke:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		probes: prober{
			timers: n.timers,
			host:   n.config.Host,
			server: n.config.Server,
			ifaces: n.config.Socket.interfaces(),
			ours:   ours,
		},
	}
	p.ctx, p.cancel = context.WithCancelCause(n.ctx)
	p.route = n.config.Socket.addRoute(p.id, p.wake)
	return p
}

// wake makes run call work soon.
func (p *peer) wake() {
	select {
	case p.poke <- struct{}{}:
	default: // run was woken already
	}
}

// changedLocked wakes the goroutines that wait for a path or a connection.
func (p *peer) changedLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// run keeps the paths to the peer until the peer is removed.
func (p *peer) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.poke:
		case <-timer.C:
		}
		if next := p.work(time.Now()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// work does what is due and returns when it has to be called again; zero: when woken.
func (p *peer) work(now time.Time) time.Time {
	p.route.asleep.Store(false)
	counts := traffic{sent: p.route.sent.Load(), received: p.route.received.Load()}
	p.mu.Lock()
	do := p.probes.step(now, len(p.conns) > 0, counts)
	theirs, ours := p.probes.theirs, p.probes.ours
	p.usePathLocked(do.use)
	p.mu.Unlock()

	if was := p.route.buffering.Swap(do.keep); was && !do.keep {
		p.route.buffer.clear()
	}
	if do.retransmit {
		p.node.config.Socket.retransmit(p.route)
	}

	for _, id := range do.forget {
		p.node.pending.remove(id)
	}
	for _, c := range do.checks {
		p.sendCheck(c, theirs, ours.ufrag, now)
	}
	if do.offer {
		p.sendOffer(do.wants, ours)
		// One of the two sides has lost its path, or has none yet. The cause may be that
		// this side's NAT has a new mapping.
		p.node.askMapping()
	}
	if do.asleep {
		p.route.asleep.Store(true)
		if p.route.sent.Load() != counts.sent &&
			p.route.asleep.CompareAndSwap(true, false) {
			p.wake() // a packet was sent meanwhile
		}
	}
	return do.next
}

// usePathLocked makes packets take the path of q; nil: none, they are dropped.
func (p *peer) usePathLocked(q *pair) {
	if q == nil {
		p.route.path.Store(nil)
		return
	}
	if old := p.route.path.Load(); old != nil && *old == q.path {
		return
	}
	way := q.path
	p.route.path.Store(&way)
	p.changedLocked()
	p.node.log.Debug("path", "peer", p.id, "kind", q.kind, "remote", q.path.to, "rtt", q.rtt)
}

// sendCheck sends a check. An error of the socket counts as the loss of the check.
func (p *peer) sendCheck(c check, theirs credentials, ours string, now time.Time) {
	b, err := newCheck(c.id, theirs, ours)
	if err != nil {
		p.node.log.Error("check", "peer", p.id, "err", err)
		return
	}
	if p.node.pending.replace(c.forgotten, c.id,
		pendingCheck{peer: p, pair: c.pair, sent: now}) {
		p.node.send(b, c.pair.path, p.id)
	}
}

// sendOffer sends an offer with the addresses of this node. It does not wait for the
// signaller, which may take a round trip or more.
func (p *peer) sendOffer(wantsAnswer bool, ours credentials) {
	o := offer{
		wantsAnswer: wantsAnswer,
		credentials: ours,
		host:        p.node.config.Host,
		candidates:  p.node.candidates(),
	}
	msg := o.appendTo(nil)
	p.node.start(func() {
		ctx, cancel := context.WithTimeout(p.ctx, p.node.timers.Connect)
		defer cancel()
		if err := p.node.config.Signaller.Signal(ctx, p.id, msg); err != nil &&
			p.ctx.Err() == nil {
			// The prober sends another one while a connection is wanted.
			p.node.log.Debug("offer", "peer", p.id, "err", err)
		}
	})
}

// handleOffer handles an offer from the peer.
func (p *peer) handleOffer(o *offer) {
	ifaces := p.node.config.Socket.interfaces()
	p.mu.Lock()
	p.probes.ifaces = ifaces
	p.near.noteOwn(o, p.node.config.Host)
	var stale []*conn
	if p.probes.noteOffer(o, time.Now(), p.node.relayDelay()) {
		stale = p.conns
		for _, c := range stale {
			c.stale = true
		}
		p.chooseConnLocked()
	}
	p.mu.Unlock()
	p.wake()
	for _, c := range stale {
		p.node.start(func() { c.quic.CloseWithError(codeRemoved, "") })
	}
}

// handleCheck handles an authentic check that has arrived on a path.
func (p *peer) handleCheck(way path) {
	if !way.relay {
		p.node.config.Socket.addSource(way.to, p.route)
	}
	p.mu.Lock()
	news := p.probes.noteHeard(way, time.Now())
	p.mu.Unlock()
	if news {
		p.wake()
	}
}

// handleAnswer handles an authentic answer to a check.
func (p *peer) handleAnswer(c pendingCheck, mapped netip.AddrPort) {
	if !c.pair.path.relay {
		p.node.config.Socket.addSource(c.pair.path.to, p.route)
	}
	p.mu.Lock()
	c.pair.noteAnswer(c.sent, time.Now(), mapped)
	p.mu.Unlock()
	p.wake()
}

// offerAgain makes run send the peer this node's new addresses, if there is a connection
// or one is being made.
func (p *peer) offerAgain() {
	p.mu.Lock()
	now := time.Now()
	if len(p.conns) > 0 || now.Before(p.probes.wantedUntil) {
		p.probes.offerAgain(now)
	}
	p.mu.Unlock()
	p.wake()
}

// connection returns the connection for new streams, and makes one if there is none.
// fresh reports that it did not exist before the call.
func (p *peer) connection(ctx context.Context) (c *conn, fresh bool, err error) {
	for {
		p.mu.Lock()
		if c := p.current; c != nil && c.quic.Context().Err() == nil {
			p.mu.Unlock()
			return c, fresh, nil
		}
		fresh = true
		d := p.dial
		if d == nil {
			d = &dial{done: make(chan struct{})}
			if !p.node.start(func() { p.runDial(d) }) {
				p.mu.Unlock()
				return nil, false, ErrClosed
			}
			p.dial = d
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		case <-p.ctx.Done():
			return nil, false, context.Cause(p.ctx)
		case <-changed:
		case <-d.done:
			if d.err != nil {
				return nil, false, d.err
			}
		}
	}
}

// runDial makes a connection and wakes the callers that wait for it.
func (p *peer) runDial(d *dial) {
	ctx, cancel := context.WithTimeoutCause(p.ctx, p.node.timers.Connect, ErrNoPath)
	defer cancel()
	d.err = p.dialUntil(ctx)
	p.mu.Lock()
	p.dial = nil
	p.mu.Unlock()
	close(d.done)
}

// redialPause is the pause after a failed handshake: a peer may refuse every one at once.
const redialPause = 100 * time.Millisecond

// dialUntil dials until there is a connection, from either side, or ctx ends.
func (p *peer) dialUntil(ctx context.Context) error {
	p.mu.Lock()
	p.probes.want(time.Now(), p.node.relayDelay())
	p.mu.Unlock()
	p.wake()
	var last error
	for {
		connected, err := p.awaitPath(ctx)
		switch {
		case err != nil && last != nil:
			return fmt.Errorf("connect to node %d: %w (last attempt: %w)", p.id, err, last)
		case err != nil:
			return fmt.Errorf("connect to node %d: %w", p.id, err)
		case connected:
			return nil
		}
		var q *quic.Conn
		q, err = p.node.config.Socket.QUIC().Dial(ctx, p.route.addr,
			p.node.clientTLS(p.key), p.node.quicConfig(p.account))
		if err == nil {
			p.add(q, true)
			return nil
		}
		if errors.Is(err, errWrongKey) {
			return fmt.Errorf("connect to node %d: %w", p.id, err)
		}
		last = err
		p.node.log.Debug("dial", "peer", p.id, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(redialPause):
		}
	}
}

// awaitPath waits until there is a path to the peer or a connection. connected reports
// the latter.
func (p *peer) awaitPath(ctx context.Context) (connected bool, err error) {
	for {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		p.mu.Lock()
		connected, ready := p.current != nil && p.current.quic.Context().Err() == nil,
			p.route.path.Load() != nil
		changed := p.changed
		p.mu.Unlock()
		if connected || ready {
			return connected, nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// close closes all connections with a code that the peer sees, and ends the peer.
func (p *peer) close(code quic.ApplicationErrorCode, cause error) {
	p.mu.Lock()
	conns := p.conns
	p.current = nil
	p.mu.Unlock()
	p.cancel(cause) // from now on add refuses connections
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { c.quic.CloseWithError(code, "") })
	}
	closing.Wait()
	p.node.config.Socket.removeRoute(p.route)
}

// path returns the path to the peer as Node.Paths has it.
func (p *peer) path() (PathInfo, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.probes.selected
	if q == nil {
		return PathInfo{}, false
	}
	info := PathInfo{
		ID:            p.id,
		Kind:          q.kind,
		Local:         q.mapped,
		Remote:        q.path.to,
		RTT:           q.rtt,
		BytesSent:     p.route.bytesSent.Load(),
		BytesReceived: p.route.bytesReceived.Load(),
		Since:         p.probes.since,
		Connected:     p.current != nil,
	}
	if !info.Local.IsValid() || q.path.relay {
		info.Local = p.node.config.Socket.LocalAddr()
	}
	return info, true
}

// PathInfo describes the path to one peer.
type PathInfo struct {
	ID     uint32 // the peer's
	Kind   Kind
	Local  netip.AddrPort // this socket, as the peer sees it if that is known
	Remote netip.AddrPort // the peer, or the relay
	RTT    time.Duration  // of probes on this path; zero if not yet known

	// Bytes of QUIC packets since the peer exists, over all paths.
	BytesSent, BytesReceived uint64

	Since     time.Time // when the path was chosen
	Connected bool      // there is a connection, not only a path
}
