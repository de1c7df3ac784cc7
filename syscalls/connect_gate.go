package syscalls

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// connectGate connects through the gate: to another node, or to the outside by a socket
// of the supervisor's.
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
	case state == tcpSynSent && c.block: // to a node on this host, with a full backlog
		return n.finishLocal(c, unix.EALREADY)
	case state != tcpClose:
		// The kernel returns EALREADY, EISCONN, or 0 the first time.
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
	if !n.chosen.chooses(c.progSocket, local) && (!alias || r&^v6 == private) {
		return fail(unix.EINVAL) // from localhost to another host
	}
	// A node on this host cannot derive the family from the alias of the dual wildcard.
	ambiguous := c.dst.Addr().Is6() && local.Addr.Addr().Unmap() == n.Aliases.Dual
	if n.Network.SameHost(c.dst.Addr()) && !ambiguous {
		return n.connectSameHost(c)
	}
	if r, ok := n.connectDirect(c, id); ok {
		return r
	}
	return n.connectFar(c)
}

// resolveWithin bounds how long a non-blocking connect waits for the answer of a node on
// this host, which takes some 100 us. If that node is slower, because it is stopped or
// asked for the first time, the connect goes through the gate, as for a far node.
const resolveWithin = 20 * time.Millisecond

// connectSameHost connects to another node on this host. The program's thread waits for
// that node's answer, even if the socket is non-blocking: a socket that connects to the
// gate cannot be redirected afterwards.
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

// listensAt reports whether a socket listens at exactly that address. The listener may
// have closed meanwhile, and a service of the host may listen on all addresses. If a
// listener was made outside of its node, it listens on all addresses too; that node then
// makes the connection itself.
func (n *Node) listensAt(kernel netip.AddrPort) bool {
	m, found, err := n.diag.Listener(kernel)
	if n.diag == nil {
		return true // the other node has just checked
	}
	return err == nil && found && m.Addr == kernel
}
