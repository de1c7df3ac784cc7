package syscalls

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
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
		return fail(c.connectNow(n.gate.addr))
	}
	if errno, ok := n.pendingConnects.takeError(id); ok {
		completeConnect(c.fd)
		return fail(errno)
	}
	local, _, err := c.localName()
	if err != nil {
		return fail(err)
	}
	if local.Addr.Port() != 0 && !n.Owns(n.sourceOf(local, n.gateFor(c.dst.Addr()).addr).Addr()) {
		return fail(unix.EINVAL) // from localhost to another host
	}
	// To a neighbour, the alias of the dual wildcard does not tell the family.
	ambiguous := c.dst.Addr().Is6() && local.Addr.Addr().Unmap() == n.Aliases.Dual
	if n.Network.Near(c.dst.Addr()) && !ambiguous {
		return n.connectSameHost(c)
	}
	return n.connectFar(c)
}

// sourceOf returns the virtual address of a socket at the kernel address local, in a
// connection whose other end is at far.
func (n *Node) sourceOf(local abi.Sockaddr, far netip.AddrPort) netip.AddrPort {
	return unmapped(n.local(local, abi.Sockaddr{Addr: far}).Addr)
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
	kernel, err := n.Network.Locate(asking, source, own, c.dst, id)
	switch {
	case err == nil && n.listensAt(kernel):
		n.sameHost.addListener(kernel, c.dst)
		r := n.connectLocal(c, source, []listener{{c.dst, kernel}}, n.gate.closed)
		if n.tracing.Load() != nil {
			r.ends, _ = n.socketEnds(c.progSocket)
			r.ends.Near = true
		}
		return r
	case err != nil && Errno(err) == unix.ECONNREFUSED:
		r := n.connectLocal(c, source, nil, n.gate.closed)
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

// connectFar connects an unconnected socket to another node, over the network.
func (n *Node) connectFar(c connectCall) reply {
	id, err := c.cookie()
	if err != nil {
		return fail(err)
	}
	gate := n.gateFor(c.dst.Addr()).towards(c.dst)
	err = c.connectFrom(n.publicFor(c.dst.Addr()),
		func() error { return c.connectNow(gate) })
	if err != unix.EINPROGRESS {
		return fail(fmt.Errorf("connect to gate: %w", err))
	}
	// Only now: after a failed connect the name of an earlier port is left, and
	// this connect has taken another.
	local, _, err := c.localName()
	if err != nil {
		return fail(err)
	}
	p := &pendingConnect{id: id, program: unmapped(local.Addr), gate: gate,
		src: n.sourceOf(local, gate), dst: c.dst}
	if n.openOptimistic(p) {
		if !c.block {
			return p.comesTo(unix.EINPROGRESS)
		}
		completeConnect(c.fd)
		return p.comesTo(0)
	}
	asking := n.pendingConnects.start(n.ctx, p)
	if !c.block {
		n.tasks.Go(func() {
			defer n.watchClosed(p)()
			n.dial(asking, p)
		})
		return p.comesTo(unix.EINPROGRESS)
	}
	if tv, err := timeout(c.fd, unix.SO_SNDTIMEO); err != nil || tv.Nano() != 0 {
		n.tasks.Go(func() { n.dial(asking, p) })
		return n.waitForConnect(c, p, unix.EINPROGRESS)
	}
	// Nothing but the outcome ends the wait: one goroutine does both. A signal
	// ends the call, and the attempt goes on.
	r := async(func(context.Context, Call) reply {
		n.dial(asking, p)
		return n.connectResult(c, p)
	})
	r.ends = p.ends()
	return r
}

// waitForConnect waits for an attempt's end on behalf of a blocking connect, as long as
// SO_SNDTIMEO allows; then it fails with expired.
func (n *Node) waitForConnect(c connectCall, p *pendingConnect,
	expired unix.Errno) reply {
	r := async(func(ctx context.Context, _ Call) reply {
		timer, stop := socketTimer(c.fd, unix.SO_SNDTIMEO)
		defer stop()
		select {
		case <-p.done:
			return n.connectResult(c, p)
		case <-timer:
			n.keepUntil(p, c.progSocket)
			return fail(expired)
		case <-ctx.Done():
			n.keepUntil(p, c.progSocket)
			return fail(unix.EINTR) // nobody waits
		}
	})
	r.ends = p.ends()
	return r
}

// connectResult answers a blocking connect whose attempt has ended.
func (n *Node) connectResult(c connectCall, p *pendingConnect) reply {
	completeConnect(c.fd)
	if p.errno != 0 {
		n.pendingConnects.takeError(p.id)
	}
	return p.comesTo(p.errno)
}

// keepUntil keeps the copy of a socket that nobody waits for any more, until the
// attempt has ended. Mostly that is now, so that the program's close(2) is the last.
func (n *Node) keepUntil(p *pendingConnect, s *progSocket) {
	if p.hasEnded() {
		return
	}
	kept := s.take()
	n.tasks.Go(func() {
		<-p.done
		kept.close()
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
