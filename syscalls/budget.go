package syscalls

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A budget shares out the descriptors that connections of the node take: one each. A
// connection that comes in and finds none waits, as on Linux for a full backlog, so that
// nobody is told of an error. What is free bounds how many a peer, and a peer's
// connections to one listener, may have (a dynamic threshold, as switches share out
// their buffers): whoever takes all they can get leaves a part for all others.
type budget struct {
	mu    sync.Mutex
	files int // descriptors that the process may have
	most  int // connections that may be open
	limit int // most, or less while the process was found to be out of descriptors
	used  int
	peers map[netip.Addr]int
	spots map[spot]int
	queue map[spot][]chan struct{} // closed when the connection may be opened
}

// A spot is one listener as one peer's connections use it.
type spot struct {
	peer     netip.Addr
	listener netip.AddrPort
}

const (
	// perPeer and perSpot are how many times what is free a peer, and a spot, may have.
	// So the first peer gets 4/5 of all, and one listener of its 2/3.
	perPeer = 4
	perSpot = 2

	// leastReserve and mostReserve bound, in descriptors, what connections leave for all
	// else: sockets of UDP, copies of descriptors, the transport. It is an eighth of what
	// the process may have.
	leastReserve = 96
	mostReserve  = 1024
)

// newBudget returns a budget for the process's limit of descriptors (RLIMIT_NOFILE).
func newBudget() *budget {
	files := uint64(1024) // as Linux has it by default
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		files = min(limit.Cur, 1<<30)
	}
	return budgetOf(int(files))
}

// budgetOf returns a budget for a process that may have so many descriptors.
func budgetOf(files int) *budget {
	reserve := min(max(files/8, leastReserve), mostReserve, files/2)
	return &budget{files: files, most: files - reserve, limit: files - reserve,
		peers: make(map[netip.Addr]int),
		spots: make(map[spot]int), queue: make(map[spot][]chan struct{})}
}

// take waits until a connection of a spot may be opened. give has to be called when it
// has ended. It fails with ctx's error.
func (b *budget) take(ctx context.Context, s spot) (give func(), err error) {
	b.mu.Lock()
	if len(b.queue[s]) == 0 && b.allowsLocked(s) {
		b.addLocked(s, 1)
		b.mu.Unlock()
		return func() { b.give(s) }, nil
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

// leave takes a waiting connection out of its queue; ok is false if it is not there.
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

// give ends a connection of a spot.
func (b *budget) give(s spot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addLocked(s, -1)
	b.freedLocked()
}

// opened and closed count a connection that a program of the node has opened: it waits
// for none.
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

// freedLocked lets connections go on that wait: in the order in which they came at each
// spot, and at any of the spots first.
func (b *budget) freedLocked() {
	b.limit = min(b.limit+1, b.most)
	for s, q := range b.queue { // the map's order is random
		for len(q) > 0 && b.allowsLocked(s) {
			b.addLocked(s, 1)
			close(q[0])
			q = q[1:]
		}
		b.setQueueLocked(s, q)
	}
}

// short says that a connection of a spot has found the process out of descriptors. It
// ends that connection as give does, but lets no other begin in its place, nor the same
// one again: that one would meet with the same. It returns false, and ends nothing, if
// the node's connections are not the cause, so that there is nothing to wait for.
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

// credit returns how many more connections the peers may be told that there is room for.
func (b *budget) credit() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.limit-b.used) / perPeer
}
