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

// Nodes on one host use the host's loopback between them, so a node must not believe a
// peer that says that it is on this host: it would let the peer choose where on the own
// loopback its programs connect to. A peer proves it. Its offer names a loopback address
// that is the peer's alone (Config.Own), this node sends a connectivity check there, and
// whoever has bound that address answers with the peer's password. Packets to loopback
// addresses never leave the host, so the answer shows that the peer, or somebody who is
// in league with it, has that address here.
//
// Such a check names both nodes by their keys (attrNeighbour). Without that, a peer could
// pass off another neighbour's address as its own, with the credentials that it has from
// that one.

// attrNeighbour is the attribute of a check that asks for the proof. It may be ignored by
// who does not know it (RFC 8489 section 14).
const attrNeighbour stun.AttrType = 0xc0b0

const (
	// provenFor is how long a proof is good.
	provenFor = time.Second
	// proveWithin bounds the wait for the answer, which takes some 50 us.
	proveWithin = 100 * time.Millisecond
	// proveAgain is after how long the check is sent once more.
	proveAgain = 10 * time.Millisecond
	// strangerFor is how long a peer that has not proven to be on this host is not asked
	// again.
	strangerFor = 30 * time.Second
)

// ErrNotNeighbour says that a peer is not on this host, or has not proven it.
var ErrNotNeighbour = errors.New("peer is not on this host")

// A neighbourhood is what a peer has shown of being on this host. The peer's lock guards
// it.
type neighbourhood struct {
	own     netip.AddrPort // which the peer says is its own; zero: none
	asked   time.Time      // when it was asked for the proof
	proven  time.Time      // when it has proven it; zero: not yet
	refuted time.Time      // when it has not
}

// neighbourTag names two nodes: the one that is asked, and the one that asks.
func neighbourTag(asked, asking Key) stun.RawAttribute {
	sum := sha256.Sum256(append(append([]byte("boxer neighbour"), asked[:]...), asking[:]...))
	return stun.RawAttribute{Type: attrNeighbour, Length: uint16(len(sum)), Value: sum[:]}
}

// noteOwn takes in what an offer says about the peer's own address.
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

// Neighbour returns the address that a peer on this host has proven to be its own there
// (its Config.Own). It fails with ErrNotNeighbour for a peer that is not on this host,
// and does not make a connection.
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
		p.mu.Unlock()
		switch {
		case !h.own.IsValid():
			return netip.AddrPort{}, p.refute()
		case time.Since(h.proven) < provenFor:
			return h.own, nil
		}
		p.askProof(h.own)
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

// refute notes that the peer has not proven to be on this host.
func (p *peer) refute() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.near.refuted = time.Now()
	return ErrNotNeighbour
}

// MayBeNeighbour reports whether it makes sense to ask Neighbour: the peer has not
// failed to prove that it is on this host a moment ago.
func (n *Node) MayBeNeighbour(id uint32) bool {
	n.mu.Lock()
	p := n.peers[id]
	n.mu.Unlock()
	if p == nil {
		return true // not met yet
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.near.refuted.IsZero() || time.Since(p.near.refuted) > strangerFor
}

// askProof sends a check to what the peer says is its own address.
func (p *peer) askProof(own netip.AddrPort) {
	p.mu.Lock()
	now := time.Now()
	if now.Sub(p.near.asked) < proveAgain-time.Millisecond { // somebody else waits, too
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

// handleProof takes in the authentic answer from the peer's own address.
func (p *peer) handleProof(from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from != p.near.own {
		return // it has another one by now
	}
	p.near.proven, p.near.refuted = time.Now(), time.Time{}
	p.changedLocked()
}

// serveOwn proves to neighbours that this node has its own address, until the node
// closes.
func (n *Node) serveOwn() {
	b := make([]byte, 1500)
	for {
		size, from, err := n.config.Own.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) || n.ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer, say
		}
		if answer := n.prove(b[:size], from); answer != nil {
			// a lost answer is asked for again
			_, _ = n.config.Own.WriteToUDPAddrPort(answer, from)
		}
	}
}

// prove answers a check of a neighbour; others get no answer.
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
