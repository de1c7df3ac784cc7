package syscalls

import (
	"net/netip"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
)

// requeued has connections that were accepted for a call which a signal then ended, by
// the listener's cookie. The next accept on that listener gets them first.
type requeued struct {
	mu sync.Mutex
	m  map[uint64][]accepted
}

// redeliverAfter is how long a requeued connection waits for an accept. A call that a
// signal restarts comes back at once. A program that waits for the listener in poll(2)
// does not, and must be woken.
const redeliverAfter = 20 * time.Millisecond

func (r *requeued) put(listener uint64, conn accepted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[uint64][]accepted)
	}
	r.m[listener] = append(r.m[listener], conn)
}

// take removes and returns the oldest connection of a listener.
func (r *requeued) take(listener uint64) (accepted, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.m[listener]
	if len(q) == 0 {
		return accepted{}, false
	}
	if len(q) == 1 {
		delete(r.m, listener)
	} else {
		r.m[listener] = q[1:]
	}
	return q[0], true
}

// requeue keeps conn for the listener's next accept. If no accept comes, it makes a new
// connection to the listener for it, so that the listener becomes readable.
func (n *Node) requeue(listener uint64, conn accepted) {
	n.requeued.put(listener, conn)
	n.tasks.Go(func() {
		t := time.NewTimer(redeliverAfter)
		defer t.Stop()
		select {
		case <-t.C:
		case <-n.ctx.Done():
		}
		if conn, ok := n.requeued.take(listener); ok {
			n.redeliver(conn)
		}
	})
}

// redeliver connects to the listener of conn and relays between the two. If the listener
// has closed, it closes conn, which resets it, as Linux resets connections that a closed
// listener has not accepted.
func (n *Node) redeliver(conn accepted) {
	kernel, shown, err := n.acceptedAt(conn)
	if err != nil {
		linux.Close(conn.fd)
		return
	}
	old, err := newLoopConn(conn.fd)
	if err != nil {
		return
	}
	shown.IP = stream.IPFields{TTL: 255} // it was accepted before
	fresh, remove, err := n.dialListener(n.ctx, kernel, shown, nil)
	if err != nil {
		old.SetLinger(0)
		old.Close()
		return
	}
	defer remove()
	far, err := stream.NewTCP(old)
	if err != nil {
		n.Logger.Debug("offer a connection again", "err", err)
		fresh.Close()
		return
	}
	n.relays.Add(1)
	n.relay(fresh, far)
}

// acceptedAt returns the kernel address of the listener that had a connection, and the
// connection's ends as the program sees them.
func (n *Node) acceptedAt(conn accepted) (kernel netip.AddrPort, shown Opening,
	err error) {
	if o := conn.direct; o != nil { // its own address is the host's
		return o.kernel, Opening{Source: o.shown.Source,
			Destination: o.shown.Destination}, nil
	}
	local, _, err := localName(conn.fd)
	if err != nil {
		return kernel, shown, err
	}
	kernel = unmapped(local.Addr)
	peer, _ := n.remote(local, conn.peer)
	at := unmapped(n.local(local, conn.peer).Addr).Addr()
	return kernel, Opening{Source: unmapped(peer.Addr),
		Destination: netip.AddrPortFrom(at, kernel.Port())}, nil
}
