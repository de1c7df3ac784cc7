package syscalls

import (
	"net/netip"
	"sync"
)

var localhost4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// peers knows the virtual peer of each relayed connection, by the kernel
// address of one of its ends. The relay adds and removes the entry.
type peers struct {
	mu sync.RWMutex
	// dialled has the connections that the node's programs opened, by the
	// program's end: all of them have the gate at the other.
	dialled map[netip.AddrPort]netip.AddrPort
	// accepted has those that came in, by the supervisor's end.
	accepted map[netip.AddrPort]netip.AddrPort
	// ended has the last of accepted whose relays have ended, and order their
	// keys, oldest first: a connection can be reset before it is accepted, and
	// accept(2) still tells where it came from.
	ended map[netip.AddrPort]netip.AddrPort
	order []netip.AddrPort
}

// maxEnded bounds how many ended connections are remembered: about what a
// listener's queue holds (somaxconn is 4096, few programs ask for more than 511).
const maxEnded = 1024

func (p *peers) addDialled(program, peer netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialled == nil {
		p.dialled = make(map[netip.AddrPort]netip.AddrPort)
	}
	p.dialled[program] = peer
}

func (p *peers) removeDialled(program netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dialled, program)
}

func (p *peers) addAccepted(relay, peer netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accepted == nil {
		p.accepted = make(map[netip.AddrPort]netip.AddrPort)
	}
	p.accepted[relay] = peer
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
	p.ended[relay] = peer
	if len(p.order) > maxEnded {
		delete(p.ended, p.order[0])
		p.order = p.order[1:]
	}
}

// wasAccepted returns the peer of a connection whose relay has ended lately.
func (p *peers) wasAccepted(relay netip.AddrPort) (peer netip.AddrPort, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	peer, ok = p.ended[relay]
	return peer, ok
}

// local returns what getsockname(2) tells for a socket with the kernel address
// local. peer is its connected peer's, or the zero value if it has none.
func (n *Node) local(local, peer Sockaddr) Sockaddr { return n.localIn(&n.ports, local, peer) }

// localIn is local for a socket of the protocol whose ports p has.
func (n *Node) localIn(p *ports, local, peer Sockaddr) Sockaddr {
	a := local.Addr.Addr().Unmap()
	port := local.Addr.Port()
	if wish, ok := p.wish(netip.AddrPortFrom(a, port)); ok {
		if !a.Is4() { // ::1 stands for [::1] and for [::]
			if peer.Addr.IsValid() {
				wish = netip.AddrPortFrom(a, wish.Port())
			}
			local.Addr = wish
			return local
		}
		port = wish.Port()
	}
	connected := peer.Addr.IsValid()
	through := a // which alias the connection came through
	if connected && (a == n.Aliases.Wildcard || a == n.Aliases.Ping) {
		through = peer.Addr.Addr().Unmap()
	}
	switch {
	case through == n.Aliases.Private:
		a = localhost4
	case a == localhost4 && connected && peer.Addr.Addr().Unmap() == n.Aliases.Datagram:
		a = n.Addr // UDP, never bound: the kernel chose the source
	case through == n.Aliases.Private6:
		a = netip.IPv6Loopback()
	case a == n.Aliases.Ping && connected:
		if host, ok := n.flows.peerOf(netip.AddrPortFrom(through, peer.Addr.Port())); ok && host.Addr().IsLoopback() {
			a = localhost4
		} else {
			a = n.Addr
		}
	case a == n.Aliases.Public, connected && a == n.Aliases.Wildcard:
		a = n.Addr
	case (a == n.Aliases.Wildcard || a == n.Aliases.Ping) && local.Six:
		local.Addr = netip.AddrPortFrom(netip.IPv6Unspecified(), port)
		return local
	case a == n.Aliases.Wildcard, a == n.Aliases.Ping:
		a = netip.IPv4Unspecified()
	default:
		return local
	}
	local.Addr = netip.AddrPortFrom(a, port)
	return local
}

// remote returns what getpeername(2) tells for a socket with these kernel
// addresses. ok is false when its relay has ended: the socket is not connected
// any more, even if the kernel has not noticed yet.
func (n *Node) remote(local, peer Sockaddr) (s Sockaddr, ok bool) {
	addr := netip.AddrPortFrom(peer.Addr.Addr().Unmap(), peer.Addr.Port())
	switch addr.Addr() {
	case n.Aliases.Relay:
		if server, ok := n.dns.server(addr); ok {
			peer.Addr = server
			break
		}
		n.peers.mu.RLock()
		defer n.peers.mu.RUnlock()
		if addr == n.gate.addr {
			addr = netip.AddrPortFrom(local.Addr.Addr().Unmap(), local.Addr.Port())
			peer.Addr, ok = n.peers.dialled[addr]
		} else {
			peer.Addr, ok = n.peers.accepted[addr]
		}
		return peer, ok
	case n.Aliases.Datagram:
		peer.Addr, ok = n.flows.peerOf(addr)
		return peer, ok
	case n.Aliases.Public, n.Aliases.Wildcard, n.Aliases.Private, n.Aliases.Private6:
		port := addr.Port()
		if wish, ok := n.ports.wish(addr); ok {
			port = wish.Port()
		}
		through := addr.Addr()
		if through == n.Aliases.Wildcard { // a wildcard listener, reached through our alias
			through = local.Addr.Addr().Unmap()
		}
		a := n.Addr
		switch through {
		case n.Aliases.Private, localhost4: // UDP, never bound: the kernel chose the source
			a = localhost4
		case n.Aliases.Private6:
			a = netip.IPv6Loopback()
		}
		peer.Addr = netip.AddrPortFrom(a, port)
	default:
		if far, ok := n.neighbours.find(addr); ok {
			peer.Addr = far
		} else if wish, ok := n.ports.wish(addr); ok && !addr.Addr().Is4() {
			peer.Addr = netip.AddrPortFrom(netip.IPv6Loopback(), wish.Port())
		}
	}
	return peer, true
}
