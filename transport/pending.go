package transport

import (
	"sync"
	"time"
)

// A pendingTable has the checks of all peers that wait for an answer, by transaction. A
// pair has a few of them, and a new one replaces the oldest, so the table needs no
// expiry.
type pendingTable struct {
	mu sync.Mutex
	m  map[transactionID]pendingCheck
}

// A pendingCheck is a check that waits for its answer.
type pendingCheck struct {
	peer *peer
	pair *pair
	sent time.Time

	proof bool // the check asks for the proof of a neighbour: see askProof
}

// replace adds a check and removes another one. It returns false if the check's peer was
// removed: nothing would remove the check later.
func (t *pendingTable) replace(old, id transactionID, c pendingCheck) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, old)
	if c.peer.unchecked {
		return false
	}
	if t.m == nil {
		t.m = make(map[transactionID]pendingCheck)
	}
	t.m[id] = c
	return true
}

// get returns the check of a transaction.
func (t *pendingTable) get(id transactionID) (pendingCheck, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.m[id]
	return c, ok
}

// remove removes one check.
func (t *pendingTable) remove(id transactionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, id)
}

// forget removes the checks of a peer that was removed, and makes replace refuse later
// ones: a goroutine may be about to add one.
func (t *pendingTable) forget(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.unchecked = true
	for id, c := range t.m {
		if c.peer == p {
			delete(t.m, id)
		}
	}
}
