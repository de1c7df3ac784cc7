package syscalls

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// The functions of a connect(2) stand in the order in which it comes to them. This file
// reads the address and chooses who carries the connection:
//
//	the kernel over loopback: connect_loopback.go   this node, a node on this host,
//	                                                localhost, the node's resolver
//	the network: connect_gate.go                    other nodes, and the outside for a
//	                                                socket that is bound
//	  its far end, and the gate: connect_open.go
//	the kernel, which does the call itself          all else

// connect answers connect(2). The kernel performs the connects that are not redirected,
// and reports errors in arguments.
func (n *Node) connect(c Call) reply {
	return onSocket(c, func(s *progSocket) reply { return n.connectSocket(c, s) })
}

func (n *Node) connectSocket(c Call, s *progSocket) reply {
	domain, typ, err := s.kind()
	switch {
	case err != nil:
		return passthrough // not a socket: Linux checks the address first
	case domain == unix.AF_NETLINK && n.netlinks.has(s.fd):
		return n.netlinks.connect(c)
	case !isInet(domain):
		return passthrough
	}
	n.forgetNames(s)
	dst, err := readSockaddr(c, c.Ptr(1), c.Int(2))
	if errors.Is(err, unix.EFAULT) {
		return fail(err)
	}
	if err != nil || !s.takesFamily(dst) {
		n.disconnects(c, s)
		return passthrough // AF_UNSPEC disconnects; other families are errors
	}
	switch typ {
	case unix.SOCK_STREAM:
		if !s.inOwnNamespace() {
			return passthrough
		}
		if err := n.checkLink(dst, true); err != nil {
			return fail(err)
		}
		if err := n.landlock.permits(c, landlock.ConnectTCP,
			dst.Addr.Port()); err != nil {
			return fail(err)
		}
		nb, err := s.nonblocking()
		if err != nil {
			return fail(err)
		}
		id, err := s.cookie()
		if err != nil {
			return fail(err)
		}
		return n.dissolveFailed(id, n.connectStream(connectCall{progSocket: s,
			tid: c.TID(), block: !nb, dst: unmapped(dst.Addr)}, dst))
	case unix.SOCK_DGRAM:
		if ok, err := s.isUDP(); err != nil || !ok {
			return passthrough
		}
		if err := n.checkLink(dst, true); err != nil {
			return fail(err)
		}
		if err := n.udp.checkFamily(s, dst); err != nil {
			return fail(err)
		}
		return n.udp.connect(c, s, unmapped(dst.Addr))
	}
	return passthrough
}

// disconnects ends a socket's pending connect if connect(2) has AF_UNSPEC.
func (n *Node) disconnects(c Call, s *progSocket) {
	var family [2]byte
	if c.Int(2) < len(family) || c.ReadMemory(c.Ptr(1), family[:]) != nil ||
		binary.NativeEndian.Uint16(family[:]) != unix.AF_UNSPEC {
		return
	}
	if id, err := s.cookie(); err == nil {
		n.pendingConnects.giveUp(n.pendingConnects.find(id))
		n.directs.remove(id)
		n.dissolve(id)
	}
}

// dissolveFailed calls dissolve if a connect(2) fails. An attempt that goes on, and an
// established connection, stay.
func (n *Node) dissolveFailed(id uint64, r reply) reply {
	switch r.kind {
	case replyWait:
		wait := r.wait
		r.wait = func(ctx context.Context, c Call) reply {
			return n.dissolveFailed(id, wait(ctx, c))
		}
	case replyErrno:
		switch r.errno {
		case unix.EINPROGRESS, unix.EALREADY, unix.EINTR, unix.EISCONN:
		default:
			n.dissolve(id)
		}
	}
	return r
}

// dissolve records that a socket has no connection any more, as the program knows.
func (n *Node) dissolve(id uint64) {
	n.chosen.dissolve(id)
	if n.Names != nil {
		n.Names.Forget(id)
	}
}

// checkFamily fails if an AF_INET6 TCP socket cannot connect to an address: it is bound
// to an IPv6 address and the destination is v4-mapped, or the reverse.
func (n *Node) checkFamily(s *progSocket, to abi.Sockaddr) error {
	if !to.V6 {
		return nil
	}
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	r, bound := n.Aliases.role(local.Addr.Addr().Unmap())
	if bound && !n.chosen.has(s) {
		return r.checkFamily(to.Addr.Addr())
	}
	return checkUnbound(to.Addr.Addr(), func() (bool, error) { return n.chosen.onlyV6(s) })
}

// checkFamily is Node.checkFamily for a UDP socket that connects or sends to an address.
func (u *udp) checkFamily(s *progSocket, to abi.Sockaddr) error {
	if !to.V6 {
		return nil
	}
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	if r, bound := u.Aliases.role(local.Addr.Addr().Unmap()); bound {
		return r.checkFamily(to.Addr.Addr())
	}
	return checkUnbound(to.Addr.Addr(), s.v6only)
}

// checkFamily fails if an AF_INET6 socket that is bound to the alias of a role cannot
// reach an address.
func (r role) checkFamily(dst netip.Addr) error {
	switch four := dst.Is4In6(); {
	case four && r&v6 != 0:
		return unix.ENETUNREACH // tcp_v6_connect in net/ipv6/tcp_ipv6.c
	case !four && r&v6 == 0 && r != dual && !dst.IsUnspecified():
		return unix.EAFNOSUPPORT // ip6_dst_lookup_tail in net/ipv6/ip6_output.c
	}
	return nil
}

// checkUnbound is checkFamily for an unbound socket. only reports whether the socket has
// IPV6_V6ONLY.
func checkUnbound(dst netip.Addr, only func() (bool, error)) error {
	if !dst.Is4In6() {
		return nil
	}
	if is, err := only(); err != nil || !is {
		return err
	}
	return unix.ENETUNREACH // tcp_v6_connect in net/ipv6/tcp_ipv6.c
}

// A connectCall is a connect(2) of a TCP socket.
type connectCall struct {
	*progSocket
	tid   int  // the calling thread
	block bool // the call waits for the outcome
	dst   netip.AddrPort
	own   bool // to a listener of this node, through the gate
}

// connectStream connects a TCP socket. given is the destination as the program has passed
// it.
func (n *Node) connectStream(c connectCall, given abi.Sockaddr) reply {
	if err := n.checkFamily(c.progSocket, given); err != nil {
		return fail(err)
	}
	server := n.nameServerAt(c.dst, n.hasNameServer)
	switch to := c.dst.Addr(); {
	case server == hostNameServer, server == notNameServer &&
		(n.Owns(to) || isLocalhost(to)):
		return n.connectOwnHost(c, server)
	case server == otherNameServer:
		if err := routed(c.dst); err != nil {
			return fail(err)
		}
		if id, err := c.cookie(); err == nil && n.tracing.Load() != nil {
			n.admitted.note(id, c.tid) // traces show the thread that asks
		}
		return n.connectGate(c)
	case n.inNetwork(to), n.leadsNowhere(c):
		return n.connectGate(c)
	}
	return passthrough
}

// isLocalhost reports whether a connect to the address stays on this host. As a
// destination, Linux replaces the wildcard by 127.0.0.1 or ::1.
func isLocalhost(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified()
}

// leadsNowhere reports whether a socket that connects to the outside is bound to the
// wildcard or to the node's address. It is then at a loopback alias, from which the
// kernel cannot reach the outside. The socket connects to the gate, as for another node,
// and the supervisor makes the connection to the outside. From localhost the kernel fails
// with EINVAL, as on Linux.
func (n *Node) leadsNowhere(c connectCall) bool {
	local, _, err := c.localName()
	if err != nil {
		return false
	}
	r, alias := n.Aliases.role(local.Addr.Addr().Unmap())
	return alias && (r&^v6 != private || n.chosen.has(c.progSocket)) &&
		n.gates.to(c.dst.Addr()) != nil
}
