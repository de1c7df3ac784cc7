package syscalls

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// connectGate connects to another node, or to what the supervisor reaches outside.
func (n *Node) connectGate(c connectCall) reply {
	id, err := c.cookie()
	if err != nil {
		return fail(err)
	}
	p := n.pendingConnects.find(id) // before the state: see pendingConnects.fail
	state, err := c.state()
	if err != nil {
		return fail(err)
	}
	switch {
	case state == tcpSynSent && c.block && p != nil:
		return n.waitForConnect(c, p, unix.EALREADY)
	case state == tcpSynSent && c.block: // to a neighbour, whose backlog is full
		return n.finishLocal(c, unix.EALREADY)
	case state != tcpClose:
		// The kernel knows: EALREADY, EISCONN, or 0 the first time.
		return fail(c.connectNow(n.gates.v4.addr))
	}
	if errno, ok := n.pendingConnects.takeError(id); ok {
		completeConnect(c.fd)
		return fail(errno)
	}
	local, _, err := c.localName()
	if err != nil {
		return fail(err)
	}
	r, alias := n.Aliases.role(local.Addr.Addr().Unmap())
	if !n.choosesSource(c.progSocket, local) && (!alias || r&^v6 == private) {
		return fail(unix.EINVAL) // from localhost to another host
	}
	// To a neighbour, the alias of the dual wildcard does not tell the family.
	ambiguous := c.dst.Addr().Is6() && local.Addr.Addr().Unmap() == n.Aliases.Dual
	if n.Network.SameHost(c.dst.Addr()) && !ambiguous {
		return n.connectSameHost(c)
	}
	return n.connectFar(c)
}

// resolveWithin bounds how long a non-blocking connect waits for a neighbour's
// word. It takes some 100 us. A neighbour that is slower, since it is stopped
// or this is the first time, is connected to as if it were far away.
const resolveWithin = 20 * time.Millisecond

// connectSameHost connects to another node on this host. The program's thread waits
// for the neighbour's word, on non-blocking sockets too: the socket cannot be
// on its way to the gate and then go elsewhere.
func (n *Node) connectSameHost(c connectCall) reply {
	return async(func(ctx context.Context, call Call) reply {
		r := n.connectResolved(ctx, c)
		if r.kind == replyWait {
			ends := r.ends
			r = r.wait(ctx, call)
			r.ends = ends
		}
		return r
	})
}

func (n *Node) connectResolved(ctx context.Context, c connectCall) reply {
	id, err := c.cookie()
	if err != nil {
		return fail(err)
	}
	asking := ctx
	if !c.block {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, resolveWithin)
		defer cancel()
	}
	source, own := n.publicFor(c.dst.Addr()), n.addrFor(c.dst.Addr())
	kernel, err := n.Network.ResolveLocal(asking, source, own, c.dst, id)
	switch {
	case err == nil && n.listensAt(kernel):
		n.sameHost.addListener(kernel, c.dst)
		r := n.connectLocal(c, n.meetingAt(source), []listener{{c.dst, kernel}}, n.gates.v4.closed)
		r.ends = Ends{Local: netip.AddrPortFrom(own, 0), Remote: c.dst, SameHost: true}
		if local, _, err := c.localName(); err == nil {
			r.ends.Local = n.sourceTo(local, c.dst.Addr())
		}
		return r
	case err != nil && Errno(err) == unix.ECONNREFUSED:
		r := n.connectLocal(c, n.meetingAt(source), nil, n.gates.v4.closed)
		r.ends = Ends{Local: netip.AddrPortFrom(own, 0), Remote: c.dst}
		return r
	case err != nil && ctx.Err() != nil:
		return fail(unix.EINTR)
	}
	return n.connectFar(c)
}

// listensAt reports whether a socket listens at exactly that address. At another one it
// may have closed meanwhile, and the host may have a service on all addresses. A
// neighbour's listener that was made outside of its node is on all of them, too: to that
// one the neighbour itself connects.
func (n *Node) listensAt(kernel netip.AddrPort) bool {
	m, found, err := n.diag.Listener(kernel)
	if n.diag == nil {
		return true // the neighbour has just looked
	}
	return err == nil && found && m.Addr == kernel
}
