package transport

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/pion/stun/v3"
)

// Nodes on one host connect over the host's loopback. So a node must not simply believe a
// peer that claims to be on this host: the peer could choose where on this host's
// loopback the node's programs connect to. The peer has to prove it. Its offer names a
// loopback address that the peer alone has (Config.Own). This node sends a connectivity
// check there, and the owner of that address answers with the peer's password. Packets to
// loopback addresses never leave the host, so an answer proves that the peer, or an
// accomplice, has that address on this host.
//
// Such a check names both nodes by their keys (attrNeighbour). Otherwise a peer could
// claim the address of another neighbour, with the credentials that this neighbour has
// sent it.

// attrNeighbour is the attribute of a check that asks for the proof. A receiver that does
// not know it may ignore it (RFC 8489 section 14).
const attrNeighbour stun.AttrType = 0xc0b0

const (
	// provenFor is how long a proof is valid.
	provenFor = time.Second
	// proveWithin bounds the wait for the answer, which takes about 50 us.
	proveWithin = 100 * time.Millisecond
	// proveAgain is when an unanswered check is repeated.
	proveAgain = 10 * time.Millisecond
	// strangerFor is how long MayBeNeighbour says no after a peer has failed to prove
	// that it is on this host.
	strangerFor = 30 * time.Second
)

// ErrNotNeighbour says that a peer is not on this host, or has not proven that it is.
var ErrNotNeighbour = errors.New("peer is not on this host")

// A neighbourhood is what is known about whether a peer is on this host. The peer's lock
// guards it.
type neighbourhood struct {
	own     netip.AddrPort // the address that the peer claims; zero: none
	asked   time.Time      // when this node last asked for the proof
	proven  time.Time      // when the last proof arrived; zero: never
	refuted time.Time      // when the peer last failed to prove it; zero: never
}

// neighbourTag returns the attribute that names two nodes: the one that is asked and the
// one that asks.
func neighbourTag(asked, asking Key) stun.RawAttribute {
	sum := sha256.Sum256(append(append([]byte("boxer neighbour"), asked[:]...), asking[:]...))
	return stun.RawAttribute{Type: attrNeighbour, Length: uint16(len(sum)), Value: sum[:]}
}

// noteOwn notes the own address that an offer claims.
func (h *neighbourhood) noteOwn(o *offer, host string) {
	var own netip.AddrPort
	for _, c := range o.candidates {
		if c.kind == candidateOwn && c.addr.Addr().IsLoopback() && host != "" &&
			o.host == host {
			own = c.addr
		}
	}
	if own != h.own {
		*h = neighbourhood{own: own}
	}
}

// Neighbour returns the address of this host that a peer has proven to be its own (its
// Config.Own). It fails with ErrNotNeighbour if the peer is not on this host, with
// ErrNoPeer if the peer is removed, and with the cause of ctx. It does not make a
// connection.
func (n *Node) Neighbour(ctx context.Context, id uint32) (netip.AddrPort, error) {
	p, err := n.peer(id)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, proveWithin, ErrNotNeighbour)
	defer cancel()
	again := time.NewTicker(proveAgain)
	defer again.Stop()
	for {
		p.mu.Lock()
		h, changed := p.near, p.changed
		offered := p.probes.theirs != (credentials{})
		p.mu.Unlock()
		switch {
		case h.own.IsValid() && time.Since(h.proven) < provenFor:
			return h.own, nil
		case h.own.IsValid():
			p.askProof(h.own)
		case offered:
			return netip.AddrPort{}, p.refute()
		default:
			// The peer's connection can be here before its offer, which names its
			// address.
		}
		select {
		case <-changed:
		case <-again.C:
		case <-p.ctx.Done(): // removed
			return netip.AddrPort{}, context.Cause(p.ctx)
		case <-ctx.Done():
			err := context.Cause(ctx)
			if errors.Is(err, ErrNotNeighbour) {
				p.refute()
			}
			return netip.AddrPort{}, err
		}
	}
}

// refute notes that the peer has failed to prove that it is on this host.
func (p *peer) refute() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.near.refuted = time.Now()
	return ErrNotNeighbour
}

// MayBeNeighbour reports whether it makes sense to call Neighbour: the peer has not
// failed to prove that it is on this host within the last 30 s.
func (n *Node) MayBeNeighbour(id uint32) bool {
	n.mu.Lock()
	p := n.peers[id]
	n.mu.Unlock()
	if p == nil {
		return true // nothing is known about it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.near.refuted.IsZero() || time.Since(p.near.refuted) > strangerFor
}

// askProof sends a check to the address that the peer claims.
func (p *peer) askProof(own netip.AddrPort) {
	p.mu.Lock()
	now := time.Now()
	// another goroutine has just asked
	if now.Sub(p.near.asked) < proveAgain-time.Millisecond {
		p.mu.Unlock()
		return
	}
	p.near.asked = now
	theirs, ours, forgotten := p.probes.theirs, p.probes.ours.ufrag, p.proofID
	id := newTransactionID()
	p.proofID = id
	p.mu.Unlock()
	tag := neighbourTag(p.key, p.node.config.Identity.Key())
	b, err := newCheck(id, theirs, ours, tag)
	if err != nil {
		p.node.log.Error("check of a neighbour", "peer", p.id, "err", err)
		return
	}
	way := path{to: own}
	if p.node.pending.replace(forgotten, id,
		pendingCheck{peer: p, pair: &pair{path: way}, sent: now, proof: true}) {
		p.node.send(b, way, p.id)
	}
}

// handleProof handles the authentic answer from an address that the peer has claimed.
func (p *peer) handleProof(from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from != p.near.own {
		return // it claims another one by now
	}
	p.near.proven, p.near.refuted = time.Now(), time.Time{}
	p.changedLocked()
}

// serveOwn answers the checks of neighbours at Config.Own until the node closes.
func (n *Node) serveOwn() {
	b := make([]byte, 1500)
	for {
		size, from, err := n.config.Own.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) || n.ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // such as an ICMP error for an earlier answer
		}
		if answer := n.prove(b[:size], from); answer != nil {
			// If the answer is lost, the neighbour asks again.
			_, _ = n.config.Own.WriteToUDPAddrPort(answer, from)
		}
	}
}

// prove returns the answer to a check of a neighbour, nil for anything else.
func (n *Node) prove(b []byte, from netip.AddrPort) []byte {
	m, err := parseSTUN(b)
	if err != nil || m.Type != stun.BindingRequest {
		return nil
	}
	receiver, _, err := checkUsername(m)
	if err != nil {
		return nil
	}
	n.mu.Lock()
	p := n.byUfrag[receiver]
	n.mu.Unlock()
	if p == nil || !authentic(m, p.probes.ours.password) {
		return nil
	}
	tag, err := m.Get(attrNeighbour)
	if err != nil || string(tag) != string(neighbourTag(n.config.Identity.Key(), p.key).Value) {
		return nil
	}
	answer, err := answerCheck(m, from, p.probes.ours.password)
	if err != nil {
		return nil
	}
	return answer
}
