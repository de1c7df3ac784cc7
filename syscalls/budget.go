package syscalls

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A budget distributes descriptors among the node's connections, which take one each. An
// incoming connection waits until one is free, as it waits for a full backlog on Linux,
// so no program sees an error. The number of free descriptors bounds how many connections
// a peer may have, and how many of them to one listener. This is a dynamic threshold, as
// in switches with shared buffers: a peer that takes all it can get still leaves a part
// to the others.
type budget struct {
	mu    sync.Mutex
	files int // descriptors that the process may have
	most  int // bound of open connections
	limit int // most, or less after the process has run out of descriptors
	used  int
	peers map[netip.Addr]int
	spots map[spot]int
	queue map[spot][]chan struct{} // closed when the connection may be opened
}

// A spot is the pair of a peer and a listener that it connects to.
type spot struct {
	peer     netip.Addr
	listener netip.AddrPort
}

const (
	// perPeer and perSpot are how many times the number of free descriptors a peer, and a
	// spot, may have. A single peer can thus get 4/5 of all descriptors, and one listener
	// 2/3 of the peer's.
	perPeer = 4
	perSpot = 2

	// leastReserve and mostReserve bound the descriptors that are reserved for everything
	// else: UDP sockets, copies of descriptors, the transport. The reserve is one eighth
	// of the process's limit.
	leastReserve = 96
	mostReserve  = 1024
)

// newBudget returns a budget for the process's limit of descriptors (RLIMIT_NOFILE).
func newBudget() *budget {
	files := uint64(1024) // Linux's default
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		files = min(limit.Cur, 1<<30)
	}
	return budgetOf(int(files))
}

// budgetOf returns a budget for a limit of descriptors.
func budgetOf(files int) *budget {
	reserve := min(max(files/8, leastReserve), mostReserve, files/2)
	return &budget{files: files, most: files - reserve, limit: files - reserve,
		peers: make(map[netip.Addr]int),
		spots: make(map[spot]int), queue: make(map[spot][]chan struct{})}
}

// take waits until a connection of a spot may be opened. The caller must call give when
// the connection has ended. take fails with ctx's error.
func (b *budget) take(ctx context.Context, s spot) (give func(), err error) {
	b.mu.Lock()
	if give, ok := b.tryLocked(s); ok {
		b.mu.Unlock()
		return give, nil
	}
	ready := make(chan struct{})
	b.queue[s] = append(b.queue[s], ready)
	b.mu.Unlock()
	select {
	case <-ready:
		return func() { b.give(s) }, nil
	case <-ctx.Done():
	}
	if !b.leave(s, ready) { // it has become ready meanwhile
		b.give(s)
	}
	return nil, ctx.Err()
}

// tryTake is take that does not wait; ok is false where take would.
func (b *budget) tryTake(s spot) (give func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tryLocked(s)
}

func (b *budget) tryLocked(s spot) (give func(), ok bool) {
	if len(b.queue[s]) > 0 || !b.allowsLocked(s) {
		return nil, false
	}
	b.addLocked(s, 1)
	return func() { b.give(s) }, true
}

// leave removes a waiting connection from its queue; ok is false if it is not there.
func (b *budget) leave(s spot, ready chan struct{}) (ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue[s]
	for i, each := range q {
		if each == ready {
			b.setQueueLocked(s, append(q[:i:i], q[i+1:]...))
			return true
		}
	}
	return false
}

func (b *budget) setQueueLocked(s spot, q []chan struct{}) {
	if len(q) == 0 {
		delete(b.queue, s)
	} else {
		b.queue[s] = q
	}
}

func (b *budget) allowsLocked(s spot) bool {
	free := b.limit - b.used
	return free > 0 && b.peers[s.peer] < perPeer*free && b.spots[s] < perSpot*free
}

func (b *budget) addLocked(s spot, n int) {
	b.used += n
	if b.peers[s.peer] += n; b.peers[s.peer] == 0 {
		delete(b.peers, s.peer)
	}
	if b.spots[s] += n; b.spots[s] == 0 {
		delete(b.spots, s)
	}
}

// give records the end of a connection of a spot.
func (b *budget) give(s spot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addLocked(s, -1)
	b.freedLocked()
}

// opened and closed count a connection that a program of the node opens. It never waits.
func (b *budget) opened() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used++
}

func (b *budget) closed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used--
	b.freedLocked()
}

// freedLocked lets waiting connections continue: in order of arrival at each spot, and at
// the spots in any order.
func (b *budget) freedLocked() {
	b.limit = min(b.limit+1, b.most)
	for s, q := range b.queue { // in random order
		for len(q) > 0 && b.allowsLocked(s) {
			b.addLocked(s, 1)
			close(q[0])
			q = q[1:]
		}
		b.setQueueLocked(s, q)
	}
}

// short records that a connection of a spot found no free descriptor in the process. It
// ends the connection as give does, but lets no waiting one take its place, because that
// one would fail as well. It returns false and does nothing if the node's connections are
// not the cause: then waiting would not help.
func (b *budget) short(s spot) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used <= 1 {
		return false
	}
	b.addLocked(s, -1)
	b.limit = min(b.limit, b.used)
	return true
}

// credit returns for how many more connections the node may announce room.
func (b *budget) credit() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.limit-b.used) / perPeer
}
