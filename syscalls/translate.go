package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

var localhost4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// peers has the virtual peer of each relayed connection, by the kernel address of one of
// its ends. The relay adds and removes the entry.
type peers struct {
	mu sync.RWMutex
	// dialled has the connections that the node's programs opened.
	dialled map[gated]*peer
	// accepted has the incoming connections, by the supervisor's end.
	accepted map[netip.AddrPort]*peer
	// ended has the most recent connections of accepted whose relays have ended; order
	// has their keys, oldest first. A connection can be reset before it is accepted, and
	// accept(2) must still return its peer.
	ended map[netip.AddrPort]netip.AddrPort
	order []netip.AddrPort
}

// A gated connection has the kernel address of a program's socket at one end, and the
// gate's at the other.
type gated struct{ program, gate netip.AddrPort }

// A peer is the far end of a relayed connection.
type peer struct {
	addr    netip.AddrPort // virtual
	own     netip.Addr     // the node's end, virtual
	urgency urgency
	ip      ipRelay
}

// maxEnded bounds how many ended connections are kept: about as many as a listener's
// queue holds (somaxconn is 4096, and few programs ask for more than 511).
const maxEnded = 1024

func (p *peers) addDialled(ends gated, own netip.Addr, addr netip.AddrPort) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialled == nil {
		p.dialled = make(map[gated]*peer)
	}
	added := &peer{addr: addr, own: own}
	p.dialled[ends] = added
	return added
}

func (p *peers) removeDialled(ends gated) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dialled, ends)
}

func (p *peers) addAccepted(relay, addr netip.AddrPort, own netip.Addr) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accepted == nil {
		p.accepted = make(map[netip.AddrPort]*peer)
	}
	added := &peer{addr: addr, own: own}
	p.accepted[relay] = added
	return added
}

func (p *peers) removeAccepted(relay netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	peer, ok := p.accepted[relay]
	if !ok {
		return
	}
	delete(p.accepted, relay)
	if p.ended == nil {
		p.ended = make(map[netip.AddrPort]netip.AddrPort)
	}
	if _, again := p.ended[relay]; !again {
		p.order = append(p.order, relay)
	}
	p.ended[relay] = peer.addr
	if len(p.order) > maxEnded {
		delete(p.ended, p.order[0])
		p.order = p.order[1:]
	}
}

// accepts reports whether an address is the supervisor's end of an incoming connection,
// including those that have ended lately.
func (p *peers) accepts(relay netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, now := p.accepted[relay]
	_, lately := p.ended[relay]
	return now || lately
}

// wasAccepted returns the peer of a connection whose relay has ended lately.
func (p *peers) wasAccepted(relay netip.AddrPort) (peer netip.AddrPort, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	peer, ok = p.ended[relay]
	return peer, ok
}

// local returns the result of getsockname(2) for a TCP socket, see protocol.
func (n *Node) local(local, peer abi.Sockaddr) abi.Sockaddr {
	kernel, far := unmapped(local.Addr), unmapped(peer.Addr)
	r, ok := n.Aliases.role(kernel.Addr())
	if !ok {
		if d, ok := n.directs.between(kernel, far); ok {
			local.Addr = d.own
		}
		return local
	}
	addr := n.own(r)
	if addr.IsUnspecified() && far.IsValid() {
		addr = n.ownAddress(kernel, far)
	}
	local.Addr = netip.AddrPortFrom(addr, n.ports.programPort(kernel))
	return local
}

// farRole returns the role of the other end's address in a connection of this node. ok is
// false if the other end is not this node's.
func (n *Node) farRole(far netip.AddrPort) (r role, ok bool) {
	if r, ok = roleOfGate(far.Addr()); ok {
		return r, n.gates.v4.has(far) || n.gates.v6 != nil && n.gates.v6.has(far) ||
			n.peers.accepts(far)
	}
	return n.Aliases.role(far.Addr())
}

// ownAddress returns the node's own address in a connection whose kernel address does not
// show it (a wildcard, or chosen by the kernel). It uses the other end's address.
func (n *Node) ownAddress(kernel, far netip.AddrPort) netip.Addr {
	r, ok := n.farRole(far)
	if addr, ok := n.ports.recordedPeer(kernel, far); ok && r&^v6 != relayEnd {
		return addr
	}
	switch {
	case !ok: // another node on this host
		if r, ok = roleOfGate(far.Addr()); !ok {
			r, _ = roleOf(far.Addr())
		}
		return n.own(public | r&v6)
	case r&^v6 == relayEnd:
		if peer := n.relayed(kernel, far); peer != nil {
			return peer.own
		}
	}
	if addr := n.own(r); !addr.IsUnspecified() {
		return addr
	}
	return n.own(private | r&v6)
}

// remote returns the result of getpeername(2) for a TCP socket, see protocol. ok is false
// if its relay has ended.
func (n *Node) remote(local, peer abi.Sockaddr) (s abi.Sockaddr, ok bool) {
	kernel, far := unmapped(local.Addr), unmapped(peer.Addr)
	r, ok := n.farRole(far)
	switch {
	case !ok:
		if d, ok := n.directs.between(kernel, far); ok {
			peer.Addr = d.peer
			return peer, true
		}
		if addr, ok := n.sameHost.find(far, kernel.Addr()); ok &&
			n.isVouched(kernel, far) {
			peer.Addr = addr
		}
		return peer, true
	case r&^v6 == relayEnd:
		if server, ok := n.dns.server(far); ok {
			peer.Addr = server
			return peer, true
		}
		p := n.relayed(kernel, far)
		if p == nil {
			return abi.Sockaddr{V6: peer.V6}, false
		}
		peer.Addr = p.addr
		return peer, true
	}
	addr := n.own(r)
	// a listener of this node, or a client that was bound to it
	if addr.IsUnspecified() {
		addr = n.ownAddress(far, kernel)
	}
	if n.Owns(addr) && !n.isVouched(kernel, far) {
		return peer, true // another process, at one of the node's aliases
	}
	peer.Addr = netip.AddrPortFrom(addr, n.ports.programPort(far))
	return peer, true
}
