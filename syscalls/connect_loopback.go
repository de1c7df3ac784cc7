package syscalls

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// connectOwnHost connects to one of the node's own virtual addresses, to localhost, or to
// the node's resolver.
func (n *Node) connectOwnHost(c connectCall, server nameServer) reply {
	switch {
	case server == hostNameServer:
		return n.connectResolver(c)
	case n.Owns(c.dst.Addr()):
		return n.connectSelf(c)
	}
	return n.connectLocalhost(c)
}

// connectResolver connects to the node's resolver instead of the name server at the
// call's destination.
func (n *Node) connectResolver(c connectCall) reply {
	proxy, ok := n.proxy(c.dst)
	if !ok {
		return passthrough
	}
	id, err := c.cookie()
	if err != nil {
		return fail(err)
	}
	n.admitted.note(id, c.tid)
	c.mappable() // fails if the socket is bound; then the connect reports the error
	return n.finishLocal(c, c.connectNow(proxy))
}

// connectSelf connects to one of the node's own virtual addresses, by a loopback
// connection of the kernel.
func (n *Node) connectSelf(c connectCall) reply {
	found, err := n.listeners.live(c.dst.Port(), c.dst.Addr(), wildcardOf(c.dst.Addr()))
	if err != nil {
		return fail(err)
	}
	last := n.gates.v4.closed
	if len(found) == 0 {
		if own, ok := n.selfConnect(c, c.dst); ok {
			last = own
		}
	}
	return n.connectLocal(c, n.meetingAt(n.publicFor(c.dst.Addr())), found, last)
}

// selfConnect returns the kernel address of a socket that connects to the very address to
// which it is bound: a simultaneous open with itself (RFC 9293 section 3.5).
func (n *Node) selfConnect(c connectCall, dst netip.AddrPort) (netip.AddrPort, bool) {
	local, _, err := c.localName()
	if err != nil || n.chosen.chooses(c.progSocket, local) {
		return netip.AddrPort{}, false
	}
	kernel := unmapped(local.Addr)
	r, ok := n.Aliases.role(kernel.Addr())
	if !ok || n.ports.programPort(kernel) != dst.Port() {
		return netip.AddrPort{}, false
	}
	own := n.own(r)
	return kernel, own == dst.Addr() || own == wildcardOf(dst.Addr())
}

// connectLocalhost connects to 127.0.0.1 or ::1: to a listener of the node, or to the
// host's if the node has none.
func (n *Node) connectLocalhost(c connectCall) reply {
	local, _, err := c.localName()
	if err != nil {
		return fail(err)
	}
	to := c.dst.Addr()
	if to.Is6() {
		r, alias := n.Aliases.role(local.Addr.Addr().Unmap())
		if !alias || r&v6 != 0 || r == dual || n.chosen.has(c.progSocket) {
			return n.connectLocalhost6(c, alias)
		}
		to = localhost4 // Linux replaces [::] here, tcp_v6_connect in net/ipv6/tcp_ipv6.c
	}
	if to.IsLoopback() && to != localhost4 { // 127.0.0.2
		return n.orHost(c, c.dst, netip.IPv4Unspecified())
	}
	return n.orHost(c, netip.AddrPortFrom(localhost4, c.dst.Port()),
		localhost4, netip.IPv4Unspecified())
}

// orHost connects to one of the node's listeners at the port on addrs, or to the host.
func (n *Node) orHost(c connectCall, host netip.AddrPort, addrs ...netip.Addr) reply {
	found, err := n.listeners.live(host.Port(), addrs...)
	if err != nil {
		return fail(err)
	}
	if len(found) == 0 {
		if own, ok := n.selfConnect(c, host); ok {
			return n.connectLocal(c, n.meetingAt(n.Aliases.Private), nil, own)
		}
		if err := n.chosen.forget(c.progSocket); err != nil {
			return fail(err)
		}
		return passthrough
	}
	at := n.meetingAt(n.Aliases.Private)
	if to := host.Addr(); to != localhost4 { // 127.0.0.2
		at.addr = to
	}
	return n.connectLocal(c, at, found, host)
}

// connectLocalhost6 connects to ::1. A socket at an alias cannot reach the host's own ::1
// any more, so only the node's listeners count.
func (n *Node) connectLocalhost6(c connectCall, alias bool) reply {
	found, err := n.listeners.live(c.dst.Port(), netip.IPv6Loopback(),
		netip.IPv6Unspecified())
	if err != nil {
		return fail(err)
	}
	if len(found) == 0 && !alias {
		return passthrough
	}
	return n.connectLocal(c, n.meetingAt(n.Aliases.Private6), found, n.gates.v4.closed)
}

// A meeting is the address at which two sockets of the node connect to each other.
type meeting struct {
	addr   netip.Addr // the virtual address: the destination of the connect
	source netip.Addr // the alias from which an unbound socket connects
}

// meetingAt returns the meeting at the virtual address of an alias.
func (n *Node) meetingAt(alias netip.Addr) meeting {
	r, _ := n.Aliases.role(alias)
	return meeting{addr: n.own(r), source: alias}
}

// connectLocal tries the listeners in turn, and at the end the address last.
func (n *Node) connectLocal(c connectCall, at meeting, found []listener,
	last netip.AddrPort) reply {
	switch state, err := c.state(); {
	case err != nil:
		return fail(err)
	case state == tcpSynSent && c.block:
		return n.finishLocal(c, unix.EALREADY)
	case state != tcpClose:
		return fail(c.connectNow(n.gates.v4.addr))
	}
	// otherwise an old error would be taken for the listener's refusal
	if err := pendingError(c.fd, c.domain); err != nil {
		return fail(err)
	}
	id, err := c.cookie()
	if err != nil {
		return fail(err)
	}
	n.vouched.note(id, n.Aliases.Wildcard) // before the other end sees the connection
	for _, l := range found {
		err = n.connectMeeting(c, at, l.kernel, c.connectLoopback)
		if errors.Is(err, errMetElsewhere) {
			if n.gates.to(c.dst.Addr()) == nil {
				return fail(unix.EADDRNOTAVAIL)
			}
			c.own = n.Owns(c.dst.Addr()) || !n.inNetwork(c.dst.Addr())
			return n.connectFar(c)
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return n.finishLocal(c, err)
		}
	}
	return n.finishLocal(c, n.connectMeeting(c, at, last, c.connectNow))
}

// errMetElsewhere means that the kernel already has a connection with the same
// four-tuple, which is another one to the programs: one port of the node connects to one
// listener of the node at two virtual addresses with the same alias.
var errMetElsewhere = errors.New("the ports are connected at another address")

// connectMeeting connects to a kernel address of the node, and records at which virtual
// address the two sockets meet.
func (n *Node) connectMeeting(c connectCall, at meeting, to netip.AddrPort,
	connect func(netip.AddrPort) error) error {
	local, _, err := c.localName()
	if err != nil {
		return err
	}
	begin := func() error { return connect(to) }
	if n.chosen.chooses(c.progSocket, local) {
		err := n.chosen.connect(c.progSocket, at.source, begin)
		// an earlier socket with this port may have met another one
		if local, _, err := c.localName(); err == nil {
			n.recordMeeting(local, to, at.addr)
		}
		return err
	}
	before := n.recordMeeting(local, to, at.addr)
	err = n.chosen.connect(c.progSocket, at.source, begin)
	// After a failed connect the socket keeps its address, and this connect has chosen a
	// new port.
	if now, _, e := c.localName(); e == nil && now.Addr.Port() != local.Addr.Port() {
		n.recordMeeting(now, to, at.addr)
		return err
	}
	if !errors.Is(err, unix.EADDRNOTAVAIL) || !before.IsValid() {
		return err
	}
	n.recordMeeting(local, to, before)
	if before == at.addr {
		return err
	}
	return errMetElsewhere
}

// recordMeeting records the virtual address at which a socket and the one at the kernel
// address far meet. It returns the address that was recorded before, if any.
func (n *Node) recordMeeting(local abi.Sockaddr, far netip.AddrPort,
	at netip.Addr) (before netip.Addr) {
	own, ok := n.Aliases.role(local.Addr.Addr().Unmap())
	if !ok {
		return netip.Addr{}
	}
	before = n.ports.recordPeer(addrPair{unmapped(local.Addr), far}, n.own(own), at)
	if before.IsUnspecified() { // a wildcard is not a specific address
		return netip.Addr{}
	}
	return before
}

// pendingError returns the error of an earlier connect of a closed socket that the
// program has not been told. The next connect(2) returns it, whatever its destination.
// The kernel checks for it before it checks the address (net/ipv4/af_inet.c,
// __inet_stream_connect), so a truncated address fetches the error and does nothing else.
func pendingError(fd, domain int) error {
	var family [2]byte
	binary.NativeEndian.PutUint16(family[:], uint16(domain))
	err := linux.Connect(fd, family[:])
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// connectLoopback starts a connect on loopback. A refusal has arrived when the call
// returns, and the socket can then connect again.
func (s *progSocket) connectLoopback(addr netip.AddrPort) error {
	err := s.connectNow(addr)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	if state, serr := s.state(); serr != nil || state != tcpClose {
		return err
	}
	return s.connectNow(addr) // fetches the error and starts no connect
}

// finishLocal answers a connect that the kernel performs. On loopback it has usually
// ended by now. If the backlog is full, a blocking connect waits here, for its own
// attempt (begun is EINPROGRESS) or for an earlier one of the same socket (EALREADY).
func (n *Node) finishLocal(c connectCall, begun error) reply {
	if !c.block || !errors.Is(begun, unix.EINPROGRESS) &&
		!errors.Is(begun, unix.EALREADY) {
		return fail(begun)
	}
	if ev, err := linux.Poll(c.fd, unix.POLLOUT); err == nil && ev != 0 {
		return fail(completeConnect(c.fd))
	}
	return async(func(ctx context.Context, _ Call) reply {
		err := n.readiness.wait(ctx, c.fd, unix.POLLOUT, unix.SO_SNDTIMEO)
		if errors.Is(err, unix.EAGAIN) {
			return fail(begun)
		}
		if err != nil {
			return fail(err)
		}
		return fail(completeConnect(c.fd))
	})
}

// completeConnect fetches the outcome of a kernel connect that has ended. The kernel has
// seen a non-blocking connect. A second call completes it, after which the socket is as
// after a blocking connect (EISCONN, or ready for another connect instead of
// ECONNABORTED). The second call passes an empty address, so that it cannot start a
// connect if there is none to complete. It does not wait for a connect that another
// thread has started meanwhile.
func completeConnect(fd int) error {
	return withoutWaiting(fd, func() error { return linux.FinishConnect(fd) })
}
