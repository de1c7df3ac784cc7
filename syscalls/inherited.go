package syscalls

import (
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// Adopt makes a socket that the program inherits, and that was made outside of the node,
// what it would be as one of the node's: nodes reach a listener, or a UDP socket, at the
// node's address and the port that it has. So a program works behind systemd's socket
// activation and inetd. Other descriptors, and sockets that nobody can reach, are left
// alone.
func (n *Node) Adopt(fd int) {
	s := &progSocket{fd: fd} // the caller's
	domain, typ, err := s.kind()
	if err != nil || !isInet(domain) {
		return
	}
	switch typ {
	case unix.SOCK_DGRAM:
		if ok, err := s.isUDP(); err != nil || !ok {
			return
		}
	case unix.SOCK_STREAM: // also one that is bound, since it is bound for nothing else
		if state, err := s.state(); err != nil || state != tcpListen &&
			state != tcpClose {
			return
		}
	default:
		return
	}
	local, _, err := s.localName()
	if err != nil || local.Addr.Port() == 0 {
		return
	}
	if _, connected, err := s.peerName(); err == nil && connected {
		return
	}
	if typ == unix.SOCK_DGRAM {
		n.udp.adopt(s, local)
		return
	}
	n.ports.inherit(local.Addr.Port())
	if at, ok := ofHost(local); ok {
		n.listenFor(s, netip.AddrPortFrom(n.Addr, at.Port()), at, true)
		return
	}
	n.register(s, local)
}

// adopt is Adopt for a UDP socket that is bound to a kernel address.
func (u *udp) adopt(s *progSocket, local abi.Sockaddr) {
	u.ports.inherit(local.Addr.Port())
	if u.show(s) != nil {
		return
	}
	if at, ok := ofHost(local); ok {
		u.listenFor(s, netip.AddrPortFrom(u.Addr, at.Port()), at, true)
		return
	}
	u.register(s, local)
}

// ofHost returns a kernel address if it is one of the host's IPv4 addresses.
func ofHost(local abi.Sockaddr) (at netip.AddrPort, ok bool) {
	at = unmapped(local.Addr)
	a := at.Addr()
	return at, !a.IsUnspecified() && !a.IsLoopback() && a.Is4()
}

// reachedAt is where the supervisor reaches a socket that is bound to local. A socket of
// the node's own is there; one that was made outside and is on all addresses of the host
// is on the alias, too, that stands for the node's wildcard. ok is false for one that
// takes IPv6 alone: it is on no alias.
func (c *core) reachedAt(s *progSocket, local abi.Sockaddr) (kernel netip.AddrPort,
	ok bool) {
	a := unmapped(local.Addr)
	switch {
	case a.Addr().Is4() && a.Addr().IsUnspecified():
		return netip.AddrPortFrom(c.Aliases.Wildcard, a.Port()), true
	case a.Addr().Is4():
		return a, true
	case !a.Addr().IsUnspecified():
		return a, false
	}
	only, err := s.v6only()
	return netip.AddrPortFrom(c.Aliases.Dual, a.Port()), err == nil && !only
}

// isInherited reports whether a kernel address, one of the host's, has the port of a
// socket that was made outside of the node.
func (p *ports) isInherited(kernel netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.inherited[kernel.Port()]
}

// inherit notes the port of such a socket.
func (p *ports) inherit(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inherited == nil {
		p.inherited = make(map[uint16]bool)
	}
	p.inherited[port] = true
}
