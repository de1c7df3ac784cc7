package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// connectFar connects an unconnected socket to the gate, and establishes it when the far
// end is connected.
func (n *Node) connectFar(c connectCall) reply {
	id, err := c.cookie()
	if err != nil {
		return fail(err)
	}
	gate := n.gates.to(c.dst.Addr()).towards(c.dst)
	err = n.chosen.connect(c.progSocket, n.publicFor(c.dst.Addr()),
		func() error { return c.connectNow(gate) })
	if !errors.Is(err, unix.EINPROGRESS) {
		return fail(fmt.Errorf("connect to gate: %w", err))
	}
	// Only now: after a failed connect the name still has the old port, and this connect
	// has chosen another.
	local, _, err := c.localName()
	if err != nil {
		return fail(err)
	}
	p := &pendingConnect{id: id, program: unmapped(local.Addr), gate: gate,
		src: n.sourceTo(local, c.dst.Addr()), dst: c.dst, own: c.own,
		ip: n.ipFields(c.fd, false), minTTL: n.minTTL(c.fd)}
	if p.ip.HopLimit() == highestTTL {
		if p.high, err = c.dup(); err != nil {
			return fail(err)
		}
	}
	return n.openFor(c, p)
}

// sourceTo returns the virtual source address of a connection from a socket at the kernel
// address local.
func (n *Node) sourceTo(local abi.Sockaddr, dst netip.Addr) netip.AddrPort {
	kernel := unmapped(local.Addr)
	r, _ := n.Aliases.role(kernel.Addr())
	addr := n.own(r)
	switch {
	case !addr.IsUnspecified():
	case isLocalhost(dst):
		addr = localhostOf(wildcardOf(dst))
	default:
		addr = n.addrFor(dst)
	}
	return netip.AddrPortFrom(addr, n.ports.programPort(kernel))
}

// openFor opens the far end of a connection whose socket is connecting to the gate, and
// then establishes the socket. A blocking call waits for that.
func (n *Node) openFor(c connectCall, p *pendingConnect) reply {
	if n.openOptimistic(p) {
		p.high.close()
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
	// Only the outcome ends the wait, so one goroutine does both. A signal ends the call,
	// but not the attempt.
	r := async(func(context.Context, Call) reply {
		n.dial(asking, p)
		return n.connectResult(c, p)
	})
	r.ends = p.ends()
	return r
}

// openOptimistic establishes a socket that is connecting to the gate at once, if the far
// side has announced that it will accept. If the far side refuses nevertheless, the
// program's connection is reset.
func (n *Node) openOptimistic(p *pendingConnect) bool {
	// The far side's TTL has to be known where the socket refuses a low one.
	if p.own || p.minTTL > 0 {
		return false
	}
	far, ok := n.Network.DialOptimistic(p.opening())
	if !ok {
		return false
	}
	if err := n.establish(far, p); err != nil {
		n.Logger.Debug("optimistic connect", "dst", p.dst, "err", err)
		return false
	}
	return true
}

// dial runs an attempt: it opens the connection over the network, then establishes the
// program's socket.
func (n *Node) dial(ctx context.Context, p *pendingConnect) {
	defer p.cancel()
	defer p.high.close()
	far, err := n.open(ctx, p)
	if p.minTTL > stream.DefaultTTL && Errno(err) == unix.ECONNREFUSED {
		far, err = n.openAgain(ctx, p)
	}
	if err != nil {
		n.refuseConnect(p, err)
		return
	}
	if ctx.Err() != nil { // given up: the socket may be connecting elsewhere
		far.Reset()
		p.closed()
		n.pendingConnects.succeed(p)
		return
	}
	if err := n.establish(far, p); err == nil ||
		Errno(err) == unix.ECONNREFUSED { // the socket is closed, or was shut down
		n.pendingConnects.succeed(p)
	} else {
		n.refuseConnect(p, err)
	}
}

// openAgain opens a connection for a socket that refuses the TTL of a refusal: it hears
// nothing of that, and tries again, as with SYN packets.
func (n *Node) openAgain(ctx context.Context, p *pendingConnect) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, synsWithin)
	defer cancel()
	for pause := time.Second; ; pause *= 2 {
		select {
		case <-ctx.Done():
			return nil, unix.ETIMEDOUT
		case <-time.After(pause):
		}
		if far, err := n.open(ctx, p); Errno(err) != unix.ECONNREFUSED {
			return far, err
		}
	}
}

// synsWithin is how long Linux sends SYN packets again (tcp_syn_retries, tcp(7)).
const synsWithin = 127 * time.Second

// open opens the far end of a program's connection: to another node, or to the outside
// for a socket that cannot reach it by itself, see leadsNowhere.
func (n *Node) open(ctx context.Context, p *pendingConnect) (Stream, error) {
	switch {
	case p.own:
		return n.openOwn(ctx, p)
	case n.inNetwork(p.dst.Addr()):
		return n.Network.Dial(ctx, p.opening())
	case p.dst.Port() == dnsPort && n.Resolver != nil:
		tid, _ := n.admitted.shownBy(p.id)
		return n.Resolver.Dial(ctx, Asker{TID: tid, Server: p.dst})
	}
	far, err := dialEgress(ctx, p.src.Port(), p.dst)
	if err == nil && p.ip != (stream.IPFields{}) {
		far.SetIPFields(p.ip)
	}
	return far, err
}

// openOwn connects to a listener of this node, see errMetElsewhere.
func (n *Node) openOwn(ctx context.Context, p *pendingConnect) (Stream, error) {
	o := p.opening()
	o.MinTTL = 0 // the gate's other end keeps to it
	conn, remove, err := n.dialFirst(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	far, err := stream.NewTCP(conn)
	if err != nil {
		remove()
		return nil, err
	}
	p.end = remove
	return far, nil
}

// establish establishes a program's socket, which is connecting to the gate, and relays
// between it and the stream. After an error it resets the stream. It fails with
// ECONNREFUSED if the socket is closed.
func (n *Node) establish(far Stream, p *pendingConnect) error {
	peer := n.peers.addDialled(p.gated(), p.src.Addr(), p.dst)
	ip := far.OnIPFields(peer.ip.toProgram)
	conn, err := n.openGate(p, ip)
	if err != nil {
		n.peers.removeDialled(p.gated())
		far.Reset()
		p.closed()
		return err
	}
	peer.urgency.attach(conn)
	peer.ip.attachConn(conn, ip)
	peer.ip.attachFar(far)
	if f, ok := n.ipChoices.get(p.id); ok && f != p.ip { // since connect(2)
		peer.ip.chosen(f)
	}
	n.relays.Add(1)
	n.budget.opened()
	n.tasks.Go(func() {
		defer n.budget.closed()
		defer n.peers.removeDialled(p.gated())
		defer p.closed()
		n.relay(conn, far)
	})
	return nil
}

// openGate connects from the gate to a program's socket. The socket may have the port of
// a listener (programs that dial from the port that they listen on), and may have closed
// meanwhile. The listener must not get the connection then. ip has the fields
// of the far side's packets.
func (n *Node) openGate(p *pendingConnect, ip stream.IPFields) (*loopConn, error) {
	shared := n.ports.listensAt(p.program)
	if shared && !n.isOpen(p.id, p.program, p.gate) {
		return nil, unix.ECONNREFUSED
	}
	conn, err := n.gates.to(p.dst.Addr()).open(p.gate, p.program, ip)
	if err == nil && shared && !n.isOpen(p.id, p.program, p.gate) {
		conn.SetLinger(0)
		conn.Close()
		return nil, unix.ECONNREFUSED
	}
	return conn, err
}

// waitForConnect waits for the end of a blocking connect's attempt, at most for
// SO_SNDTIMEO; then it fails with expired.
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
			return fail(unix.EINTR) // the call has ended
		}
	})
	r.ends = p.ends()
	return r
}

// connectResult returns the reply to a blocking connect whose attempt has ended.
func (n *Node) connectResult(c connectCall, p *pendingConnect) reply {
	completeConnect(c.fd)
	if p.errno != 0 {
		n.pendingConnects.takeError(p.id)
	}
	return p.comesTo(p.errno)
}

// keepUntil keeps the copy of a socket until the attempt has ended, although the call
// does not wait any more. Usually that is at once, so that the program's close(2) closes
// the last reference.
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

// refuseConnect ends an attempt that has failed.
func (n *Node) refuseConnect(p *pendingConnect, why error) {
	n.Logger.Debug("connect", "dst", p.dst, "err", why)
	refuse := func() error {
		if n.ports.listensAt(p.program) && !n.isOpen(p.id, p.program, p.gate) {
			return nil // the packets would reach the listener
		}
		defer p.high.lowered()()
		return n.gates.to(p.dst.Addr()).refuse(p.gate, p.program)
	}
	err := n.pendingConnects.fail(p, Errno(why), refuse)
	// Mostly for lack of descriptors. The program waits.
	for i := 0; err != nil && i < refuseTries && n.ctx.Err() == nil; i++ {
		time.Sleep(refusePause)
		err = refuse()
	}
	if err != nil {
		n.Logger.Error("end a connect", "dst", p.dst, "err", err)
	}
}

const (
	refuseTries = 100
	refusePause = 50 * time.Millisecond
)

// watchClosed gives up an attempt when the program has closed its socket: as on Linux,
// the far side then never accepts the connection. Boxer keeps no copy of the socket. The
// watch ends when the returned function is called.
func (n *Node) watchClosed(p *pendingConnect) (stop func()) {
	var t *time.Timer
	var mu sync.Mutex // held until t is set
	mu.Lock()
	defer mu.Unlock()
	t = time.AfterFunc(closedLook, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case p.hasEnded():
		case n.isOpen(p.id, p.program, p.gate):
			t.Reset(closedLook)
		default:
			n.pendingConnects.giveUp(p)
		}
	})
	return func() { t.Stop() }
}

// closedLook is how often watchClosed checks. With a full backlog, the kernel repeats a
// SYN after one second (tcp(7)).
const closedLook = 200 * time.Millisecond

// isOpen reports whether the socket between two addresses has that cookie. It returns
// true if that is not known.
func (n *Node) isOpen(cookie uint64, local, remote netip.AddrPort) bool {
	m, found, err := n.diag.Connection(local, remote)
	if err != nil {
		return inUse(local)
	}
	return found && m.Cookie == cookie
}
