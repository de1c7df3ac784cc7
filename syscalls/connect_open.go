package syscalls

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// openOptimistic lets a program's socket, which is connecting to the gate, through it at
// once, if the far side has announced that it will accept. If then it does not, the
// program sees a connection that is reset.
func (n *Node) openOptimistic(p *pendingConnect) bool {
	stream, ok := n.Network.DialOptimistic(p.src, p.dst)
	if !ok {
		return false
	}
	if err := n.establish(stream, p); err != nil {
		n.Logger.Debug("connect early", "dst", p.dst, "err", err)
		return false
	}
	return true
}

// dial runs an attempt: it asks the network for the connection, then lets the
// program's socket through the gate.
func (n *Node) dial(ctx context.Context, p *pendingConnect) {
	defer p.cancel()
	stream, err := n.open(ctx, p)
	if err != nil {
		n.refuseConnect(p, err)
		return
	}
	if ctx.Err() != nil { // given up: the socket may be connecting to another
		stream.Reset()
		n.pendingConnects.succeed(p)
		return
	}
	if err := n.establish(stream, p); err == nil ||
		Errno(err) == unix.ECONNREFUSED { // the socket is closed, or connects no more: shutdown(2)
		n.pendingConnects.succeed(p)
	} else {
		n.refuseConnect(p, err)
	}
}

// open opens a connection of one of the node's programs: to another node, or to the
// outside for a socket that cannot get there by itself, see leadsNowhere.
func (n *Node) open(ctx context.Context, p *pendingConnect) (Stream, error) {
	switch {
	case n.inNetwork(p.dst.Addr()):
		return n.Network.Dial(ctx, p.src, p.dst)
	case p.dst.Port() == dnsPort && n.Resolver != nil:
		return n.Resolver.Dial(ctx, n.askerOn(p.id, p.dst))
	}
	return dialEgress(ctx, p.src.Port(), p.dst)
}

// establish lets a program's socket through the gate and relays between it and the
// stream, which it resets after an error. It fails with ECONNREFUSED if the socket is
// closed.
func (n *Node) establish(stream Stream, p *pendingConnect) error {
	peer := n.peers.addDialled(p.gated(), p.dst)
	conn, err := n.openGate(p)
	if err != nil {
		n.peers.removeDialled(p.gated())
		stream.Reset()
		return err
	}
	peer.urgency.attach(conn)
	n.relays.Add(1)
	n.budget.opened()
	n.tasks.Go(func() {
		defer n.budget.closed()
		defer n.peers.removeDialled(p.gated())
		n.relay(conn, stream)
	})
	return nil
}

// openGate opens the gate for a program's socket. Where that has the port of a listener,
// as with programs that dial from the port that they listen on, and is closed meanwhile,
// the listener must not get the connection.
func (n *Node) openGate(p *pendingConnect) (*loopConn, error) {
	shared := n.ports.listensAt(p.program)
	if shared && !n.isOpen(p.id, p.program, p.gate) {
		return nil, unix.ECONNREFUSED
	}
	conn, err := n.gateFor(p.dst.Addr()).open(p.gate, p.program)
	if err == nil && shared && !n.isOpen(p.id, p.program, p.gate) {
		conn.SetLinger(0)
		conn.Close()
		return nil, unix.ECONNREFUSED
	}
	return conn, err
}

// refuseConnect ends an attempt that has come to nothing.
func (n *Node) refuseConnect(p *pendingConnect, why error) {
	n.Logger.Debug("connect", "dst", p.dst, "err", why)
	refuse := func() error {
		if n.ports.listensAt(p.program) && !n.isOpen(p.id, p.program, p.gate) {
			return nil // it would be the listener that is connected to
		}
		return n.gateFor(p.dst.Addr()).refuse(p.gate, p.program)
	}
	err := n.pendingConnects.fail(p, Errno(why), refuse)
	// For lack of descriptors, most likely. The program waits.
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

// watchClosed gives an attempt up when the program has closed its socket, of
// which we keep no copy: as on Linux, the far side then never accepts it. It works
// until the returned function is called.
func (n *Node) watchClosed(p *pendingConnect) (stop func()) {
	var t *time.Timer
	var mu sync.Mutex // t is there
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

// closedLook is how often a connect that takes its time is looked after. The
// kernel of a listener whose backlog is full asks again after a second (tcp(7)).
const closedLook = 200 * time.Millisecond
