package syscalls

import (
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// Adopt makes an inherited socket, which was made outside of the node, a socket of the
// node: other nodes reach a listener or a UDP socket at the node's address and the
// socket's port. Programs thus work behind systemd's socket activation and inetd. Adopt
// ignores other descriptors, and sockets that no node can reach.
func (n *Node) Adopt(fd int) {
	s := &progSocket{fd: fd} // the caller closes fd
	domain, typ, err := s.kind()
	if err != nil || !isInet(domain) {
		return
	}
	switch typ {
	case unix.SOCK_DGRAM:
		if ok, err := s.isUDP(); err != nil || !ok {
			return
		}
	case unix.SOCK_STREAM: // also a socket that is only bound: it is going to listen
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

// ofHost returns a socket's kernel address if it is one of the host's IPv4 addresses.
func ofHost(local abi.Sockaddr) (at netip.AddrPort, ok bool) {
	at = unmapped(local.Addr)
	a := at.Addr()
	return at, !a.IsUnspecified() && !a.IsLoopback() && a.Is4()
}

// reachedAt returns the kernel address at which the supervisor reaches a socket that is
// bound to local. For a socket of the node, it is the same address. For a socket that was
// made outside and is bound to all addresses of the host, it is the alias of the node's
// wildcard. ok is false for a socket that accepts only IPv6, which no alias reaches.
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

// isInherited reports whether a kernel address of the host has the port of a socket that
// was made outside of the node.
func (p *ports) isInherited(kernel netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.inherited[kernel.Port()]
}

// inherit records the port of such a socket.
func (p *ports) inherit(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inherited == nil {
		p.inherited = make(map[uint16]bool)
	}
	p.inherited[port] = true
}
