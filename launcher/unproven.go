package launcher

import "sync"

// The bounds of connections whose other end has not proven yet that it may control the
// node. Every node of the network can open such a connection.
const (
	maxUnprovenPeer = 8 // of one node
	maxUnproven     = 64
)

// unproven counts the connections of other nodes that have proven nothing yet. The zero
// value is ready for use.
type unproven struct {
	mu     sync.Mutex
	byPeer map[uint32]int
	all    int
}

// admit reports whether a peer may have one more connection. If so, the caller must call
// done when the connection has proven what it must, or has ended. done may be called more
// than once.
func (u *unproven) admit(peer uint32) (done func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all >= maxUnproven || u.byPeer[peer] >= maxUnprovenPeer {
		return nil, false
	}
	if u.byPeer == nil {
		u.byPeer = make(map[uint32]int)
	}
	u.all++
	u.byPeer[peer]++
	return sync.OnceFunc(func() { u.leave(peer) }), true
}

func (u *unproven) leave(peer uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all--
	if u.byPeer[peer]--; u.byPeer[peer] == 0 {
		delete(u.byPeer, peer)
	}
}
