package syscalls

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// getsockname answers getsockname(2) with the socket's virtual address.
func (n *Node) getsockname(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		count := n.countNames()
		local, ok, err := s.localName()
		switch {
		case err != nil:
			return fail(err)
		case !ok && n.netlinks.has(s.fd):
			return n.netlinks.name(c, s.fd, false)
		case !ok:
			return passthrough
		}
		n.describe(s, count)
		return fail(writeSockaddr(c, n.programName(s, local), c.Ptr(1), c.Ptr(2)))
	})
}

// programName returns the virtual address of a socket at the kernel address local.
func (n *Node) programName(s *progSocket, local abi.Sockaddr) abi.Sockaddr {
	if d, ok := n.directs.of(s); ok {
		local.Addr = d.own
		return local
	}
	var peer abi.Sockaddr
	switch local.Addr.Addr().Unmap() {
	case n.Aliases.Wildcard, n.Aliases.Wildcard6, n.Aliases.Dual, n.Aliases.Ping,
		n.Aliases.Ping6, localhost4:
		// only then the peer matters
		if p, ok, err := s.peerName(); err == nil && ok {
			peer = p
		}
	}
	of := n.protocolOf(s)
	if of == protocol(n) && n.chosen.isDissolved(s) {
		any := anyAddress(s.domain)
		any.Addr = netip.AddrPortFrom(any.Addr.Addr(), local.Addr.Port())
		return any
	}
	name := of.local(local, peer)
	if name == local && !of.isInherited(unmapped(local.Addr)) {
		name = n.egressName(s, local)
	}
	return name
}

// A protocol translates the kernel's names of its sockets into virtual addresses.
type protocol interface {
	// local returns the result of getsockname(2) for a socket with the kernel address
	// local. peer is the kernel address of its peer, or the zero value if it has none.
	local(local, peer abi.Sockaddr) abi.Sockaddr
	// remote returns the result of getpeername(2). ok is false if the peer has ended,
	// even if the kernel does not know that yet.
	remote(local, peer abi.Sockaddr) (s abi.Sockaddr, ok bool)
	// isInherited reports whether a kernel address of the host has the port of a socket
	// that was made outside of the node.
	isInherited(kernel netip.AddrPort) bool
}

// protocolOf returns the protocol of a socket.
func (n *Node) protocolOf(s *progSocket) protocol {
	if _, typ, err := s.kind(); err == nil && typ == unix.SOCK_DGRAM {
		return n.udp
	}
	return n
}

func (n *Node) isInherited(kernel netip.AddrPort) bool { return n.ports.isInherited(kernel) }
func (u *udp) isInherited(kernel netip.AddrPort) bool  { return u.ports.isInherited(kernel) }

// getpeername answers getpeername(2).
func (n *Node) getpeername(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		count := n.countNames()
		peer, ok, err := s.peerName()
		switch {
		case err != nil:
			return fail(err)
		case !ok && n.netlinks.has(s.fd):
			return n.netlinks.name(c, s.fd, true)
		case !ok:
			return passthrough
		}
		local, _, err := s.localName()
		if err != nil {
			return fail(err)
		}
		// the peer of a ping socket has no port
		peer, ok = n.protocolOf(s).remote(local, peer)
		if !ok || peer.Addr.Port() == 0 {
			return fail(unix.ENOTCONN)
		}
		n.describe(s, count)
		return fail(writeSockaddr(c, peer, c.Ptr(1), c.Ptr(2)))
	})
}

// v6Only answers getsockopt(IPPROTO_IPV6, IPV6_V6ONLY). The kernel's value is 0 for
// sockets at an alias. bind(2) to an IPv6 address sets the option (__inet6_bind in
// net/ipv6/af_inet6.c).
func (n *Node) v6Only(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		local, ok, err := s.localName()
		if err != nil || !ok {
			return passthrough
		}
		switch local.Addr.Addr().Unmap() {
		case n.Aliases.Wildcard6, n.Aliases.Public6, n.Aliases.Private6:
		default:
			return passthrough
		}
		if _, _, err := s.kind(); err == nil && n.chosen.has(s) {
			if only, err := n.chosen.onlyV6(s); err == nil && !only {
				return passthrough // the program had cleared it
			}
		}
		return fail(writeIntOption(c, 1))
	})
}

// socketError answers getsockopt(SOL_SOCKET, SO_ERROR), which reads and clears
// the error of a redirected connect.
func (n *Node) socketError(c Call) reply {
	if n.udp.unreachables.count.Load() > 0 {
		if r := n.udp.socketError(c); r.kind != replyContinue {
			return r
		}
	}
	if n.pendingConnects.empty() {
		return passthrough
	}
	return onSocket(c, func(s *progSocket) reply {
		count := n.countNames()
		id, err := s.cookie()
		if err != nil {
			return passthrough // not a socket: the kernel reports that
		}
		errno, ok := n.pendingConnects.takeError(id)
		if !ok {
			n.describe(s, count) // programs then ask for the names
			return passthrough
		}
		clearError(s.fd) // ECONNRESET, by which the gate has refused
		return fail(writeIntOption(c, uint32(errno)))
	})
}

// writeIntOption answers getsockopt(2) with an int.
func writeIntOption(c Call, v uint32) error {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], v)
	return writeOption(c, b[:], 0, c.Ptr(3), c.Ptr(4))
}

// writeOption stores the value of a socket option as getsockopt(2) does: at most *size
// bytes of it at addr, and their number in *size. It fails with EINVAL if *size is less
// than least.
func writeOption(c Call, v []byte, least int, addr, size uintptr) error {
	var room [4]byte
	if err := c.ReadMemory(size, room[:]); err != nil {
		return err
	}
	n := int(int32(binary.NativeEndian.Uint32(room[:])))
	if n < least {
		return unix.EINVAL
	}
	n = min(n, len(v))
	if err := c.WriteMemory(addr, v[:n]); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(room[:], uint32(n))
	return c.WriteMemory(size, room[:])
}
