package syscalls

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// connect answers connect(2). What it does not redirect, the kernel does, and
// it says what is wrong with odd arguments, too.
func (n *Node) connect(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	r, keep := n.connectSocket(c, fd)
	if !keep {
		unix.Close(fd)
	}
	return r
}

// connectSocket is connect on a copy of the program's socket. keep is true if
// something else closes the copy.
func (n *Node) connectSocket(c Call, fd int) (r reply, keep bool) {
	domain, typ, err := kind(fd)
	if err != nil {
		return fail(err), false
	}
	if domain == unix.AF_NETLINK && n.isNetlink(fd) {
		return n.connectNetlink(c), false
	}
	if !isInet(domain) {
		return letThrough, false
	}
	dst, err := readSockaddr(c, c.Ptr(1), c.Int(2))
	if err == unix.EFAULT {
		return fail(err), false
	}
	if err != nil || dst.Six != (domain == unix.AF_INET6) {
		return letThrough, false // AF_UNSPEC disconnects; the rest is wrong
	}
	if dst.Addr.Addr().Is4In6() {
		if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err != nil || only != 0 {
			return letThrough, false // ENETUNREACH
		}
	}
	addr := netip.AddrPortFrom(dst.Addr.Addr().Unmap(), dst.Addr.Port())
	switch {
	case typ == unix.SOCK_DGRAM:
		if _, ok, err := isUDP(fd); err != nil || !ok {
			return letThrough, false
		}
		return n.connectDatagram(c, fd, domain, addr), false
	case typ != unix.SOCK_STREAM:
		return letThrough, false
	case n.isNameServer(addr):
		return n.connectResolver(fd, domain, addr)
	case addr.Addr() == n.Addr:
		return n.connectSelf(fd, domain, addr)
	case n.Prefix.Contains(addr.Addr()):
		return n.connectPeer(fd, domain, addr)
	case isLocalhost(addr.Addr()):
		return n.connectLocalhost(fd, domain, addr)
	}
	return letThrough, false
}

// isLocalhost reports whether a connect to the address stays on this host. Linux
// takes the wildcard for 127.0.0.1 and ::1.
func isLocalhost(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified()
}

// connectPeer connects to another node.
func (n *Node) connectPeer(fd, domain int, dst netip.AddrPort) (reply, bool) {
	block, err := nonblocking(fd)
	if err != nil {
		return fail(err), false
	}
	block = !block
	id, err := cookie(fd)
	if err != nil {
		return fail(err), false
	}
	at := n.attempts.find(id) // before the state: see attempts.fail
	state, err := tcpState(fd)
	if err != nil {
		return fail(err), false
	}
	switch {
	case state == tcpSynSent && block && at != nil:
		return n.waitFor(fd, id, at, unix.EALREADY)
	case state != tcpClose:
		// The kernel knows: EALREADY, EISCONN, or 0 the first time.
		return fail(connectNow(fd, kernelSockaddr(domain, n.gate.addr))), false
	}
	if errno, ok := n.attempts.takeError(id); ok {
		clearError(fd)
		return fail(errno), false
	}
	if n.Network.Near(dst.Addr()) {
		return n.connectNear(fd, domain, block, dst)
	}
	return n.connectFar(fd, domain, block, dst)
}

// connectFar connects an unconnected socket to another node, over the network.
func (n *Node) connectFar(fd, domain int, block bool, dst netip.AddrPort) (reply, bool) {
	id, err := cookie(fd)
	if err != nil {
		return fail(err), false
	}
	local, err := n.bindSource(fd, domain, n.Aliases.Public)
	if err != nil {
		return fail(err), false
	}
	src := n.local(local, Sockaddr{Addr: dst}).Addr
	if src.Addr().Unmap() != n.Addr {
		return fail(unix.EINVAL), false // from localhost to another host
	}
	err = connectNow(fd, kernelSockaddr(domain, n.gate.addr))
	if err != unix.EINPROGRESS {
		return fail(fmt.Errorf("connect to gate: %w", err)), false
	}
	// Only now: after a failed connect the name of an earlier port is left, and
	// this connect has taken another.
	if local, _, err = localName(fd); err != nil {
		return fail(err), false
	}
	src = n.local(local, Sockaddr{Addr: dst}).Addr
	program := netip.AddrPortFrom(local.Addr.Addr().Unmap(), local.Addr.Port())
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	at := n.attempts.start(id)
	if !block {
		n.tasks.Go(func() {
			n.dial(at, id, fd, program, src, dst)
			unix.Close(fd)
		})
		return fail(unix.EINPROGRESS), true
	}
	if tv, err := timeout(fd, unix.SO_SNDTIMEO); err != nil || tv.Nano() != 0 {
		n.tasks.Go(func() { n.dial(at, id, fd, program, src, dst) })
		return n.waitFor(fd, id, at, unix.EINPROGRESS)
	}
	// Nothing but the outcome ends the wait: one goroutine does both. A signal
	// ends the call, and the attempt goes on.
	return later(func(context.Context, Call) reply {
		defer unix.Close(fd)
		n.dial(at, id, fd, program, src, dst)
		return n.outcome(fd, id, at)
	}), true
}

// bindSource gives an unbound socket a port on the alias. It returns the
// socket's own address, as the kernel knows it.
func (n *Node) bindSource(fd, domain int, alias netip.Addr) (Sockaddr, error) {
	local, _, err := localName(fd)
	if err != nil || local.Addr.Port() != 0 {
		return local, err
	}
	if err := unix.Bind(fd, kernelSockaddr(domain, netip.AddrPortFrom(alias, 0))); err != nil {
		return Sockaddr{}, fmt.Errorf("bind to %v: %w", alias, err)
	}
	local, _, err = localName(fd)
	return local, err
}

// dial runs an attempt: it asks the network for the connection, then lets the
// program's socket through the gate.
func (n *Node) dial(at *attempt, id uint64, fd int, program, src, dst netip.AddrPort) {
	stream, err := n.Network.Dial(n.ctx, src, dst)
	if err != nil {
		n.Logger.Debug("connect", "dst", dst, "err", err)
		n.attempts.fail(at, Errno(err), fd)
		return
	}
	n.peers.addDialled(program, dst)
	conn, err := n.gate.open(program)
	if err != nil {
		n.Logger.Debug("connect", "dst", dst, "err", err)
		n.peers.removeDialled(program)
		stream.Reset()
		if state, serr := tcpState(fd); serr == nil && state == tcpSynSent {
			n.attempts.fail(at, Errno(err), fd)
		} else { // the program has given up: shutdown(2), or connect(2) to AF_UNSPEC
			n.attempts.succeed(id, at)
		}
		return
	}
	n.relays.Add(1)
	n.tasks.Go(func() {
		defer n.peers.removeDialled(program)
		n.relay(conn, stream)
	})
	n.attempts.succeed(id, at)
}

// waitFor waits for an attempt's end on behalf of a blocking connect, as long
// as SO_SNDTIMEO allows; then it fails with late. It owns fd.
func (n *Node) waitFor(fd int, id uint64, at *attempt, late unix.Errno) (reply, bool) {
	return later(func(ctx context.Context, _ Call) reply {
		defer n.release(fd, at)
		expired, stop := socketTimer(fd, unix.SO_SNDTIMEO)
		defer stop()
		select {
		case <-at.done:
		case <-expired:
			return fail(late)
		case <-ctx.Done():
			return fail(unix.EINTR) // nobody waits
		}
		return n.outcome(fd, id, at)
	}), true
}

// outcome answers a blocking connect whose attempt has ended.
func (n *Node) outcome(fd int, id uint64, at *attempt) reply {
	if at.errno != 0 {
		n.attempts.takeError(id)
		clearError(fd)
		return fail(at.errno)
	}
	// For the kernel the connect is still the non-blocking one that was made
	// first. Once more, and it is finished: the next gives EISCONN.
	connectNow(fd, kernelSockaddr(unix.AF_INET, n.gate.addr))
	return reply{}
}

// release closes the copy of a socket that an attempt uses, when that has ended:
// mostly now, so that the program's close(2) is the last.
func (n *Node) release(fd int, at *attempt) {
	if at.hasEnded() {
		unix.Close(fd)
		return
	}
	n.tasks.Go(func() {
		<-at.done
		unix.Close(fd)
	})
}

// socketTimer returns a channel that fires when the given timeout of the
// socket expires; never, if it has none.
func socketTimer(fd, opt int) (<-chan time.Time, func()) {
	tv, err := timeout(fd, opt)
	if err != nil || tv.Nano() == 0 {
		return nil, func() {}
	}
	t := time.NewTimer(time.Duration(tv.Nano()))
	return t.C, func() { t.Stop() }
}

// clearError takes the error that shutdown left in the socket (sk_err).
func clearError(fd int) { unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) }

// connectSelf connects to the node's own virtual address: the kernel's own
// loopback connection.
func (n *Node) connectSelf(fd, domain int, dst netip.AddrPort) (reply, bool) {
	found := n.ports.find(dst.Port(), n.Addr, netip.IPv4Unspecified())
	return n.connectLocal(fd, domain, n.Aliases.Public, found, n.gate.closed)
}

// connectLocalhost connects to 127.0.0.1 or ::1: the node's own, or the host's
// where the node has no listener.
func (n *Node) connectLocalhost(fd, domain int, dst netip.AddrPort) (reply, bool) {
	var found []listener
	host := dst
	switch {
	case dst.Addr().Is4() && dst.Addr().IsLoopback() && dst.Addr() != localhost4: // 127.0.0.2
		found = n.ports.find(dst.Port(), netip.IPv4Unspecified())
	case dst.Addr().Is4():
		found = n.ports.find(dst.Port(), localhost4, netip.IPv4Unspecified())
		host = netip.AddrPortFrom(localhost4, dst.Port())
	default:
		found = n.ports.find(dst.Port(), netip.IPv6Loopback(), netip.IPv6Unspecified())
		host = netip.AddrPortFrom(netip.IPv6Loopback(), dst.Port())
	}
	if len(found) == 0 {
		return letThrough, false
	}
	source := n.Aliases.Private
	if !dst.Addr().Is4() {
		if found[0].kernel.Addr().Is4() { // dual-stack: [::] serves ::1 too, but the alias is IPv4
			return n.connectMapped(fd, domain, found)
		}
		source = netip.IPv6Loopback()
	}
	return n.connectLocal(fd, domain, source, found, host)
}

// connectMapped connects an AF_INET6 socket that asked for ::1 to a dual-stack
// listener of the node, whose alias is v4-mapped.
func (n *Node) connectMapped(fd, domain int, found []listener) (reply, bool) {
	if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err != nil || only != 0 {
		return fail(unix.ECONNREFUSED), false
	}
	return n.connectLocal(fd, domain, n.Aliases.Private6, found, n.gate.closed)
}

// connectLocal tries the listeners in turn, then last.
func (n *Node) connectLocal(fd, domain int, source netip.Addr, found []listener, last netip.AddrPort) (reply, bool) {
	if state, err := tcpState(fd); err != nil {
		return fail(err), false
	} else if state != tcpClose {
		return fail(connectNow(fd, kernelSockaddr(domain, n.gate.addr))), false
	}
	if _, err := n.bindSource(fd, domain, source); err != nil {
		return fail(err), false
	}
	block, err := nonblocking(fd)
	if err != nil {
		return fail(err), false
	}
	block = !block
	for _, l := range found {
		err = connectLoopback(fd, kernelSockaddr(domain, l.kernel))
		if err != unix.ECONNREFUSED {
			return n.finishLocal(fd, block, err)
		}
		n.ports.refused(l.program, l.kernel)
	}
	return n.finishLocal(fd, block, connectNow(fd, kernelSockaddr(domain, last)))
}

// connectLoopback starts a connect on loopback, where a refusal has arrived by
// the time that the call returns; another may follow it.
func connectLoopback(fd int, sa unix.Sockaddr) error {
	err := connectNow(fd, sa)
	if err != unix.EINPROGRESS {
		return err
	}
	if state, serr := tcpState(fd); serr != nil || state != tcpClose {
		return err
	}
	return connectNow(fd, sa) // fetches the error: it starts nothing
}

// finishLocal ends a connect that the kernel does. On loopback it has mostly
// come to its end by now; a blocking one waits here if the backlog is full.
func (n *Node) finishLocal(fd int, block bool, err error) (reply, bool) {
	if !block || err != unix.EINPROGRESS {
		return fail(err), false
	}
	if ev, err := pollNow(fd, unix.POLLOUT); err == nil && ev != 0 {
		return fail(n.settle(fd)), false
	}
	return later(func(ctx context.Context, _ Call) reply {
		defer unix.Close(fd)
		err := waitReady(ctx, fd, unix.POLLOUT, unix.SO_SNDTIMEO)
		if err == unix.EAGAIN {
			return fail(unix.EINPROGRESS)
		}
		if err != nil {
			return fail(err)
		}
		return fail(n.settle(fd))
	}), true
}

// settle fetches the outcome of a kernel connect that has ended. To the kernel
// it was a non-blocking one: with a second call it is over, and the socket can
// be connected again (ECONNABORTED otherwise).
func (n *Node) settle(fd int) error {
	return connectNow(fd, kernelSockaddr(unix.AF_INET, n.gate.addr))
}
