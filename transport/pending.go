package transport

import (
	"sync"
	"time"
)

// pendingChecks of all peers, by transaction. Each pair has but a few, and
// forgets its oldest for a new one, so the table needs no expiry.
type pendingTable struct {
	mu sync.Mutex
	m  map[transactionID]pendingCheck
}

// A pendingCheck is a check whose answer is waited for.
type pendingCheck struct {
	peer *peer
	pair *pair
	sent time.Time

	proof bool // of being a neighbour, by an address that is no path
}

// replace adds a check and forgets another one.
func (t *pendingTable) replace(old, id transactionID, c pendingCheck) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[transactionID]pendingCheck)
	}
	delete(t.m, old)
	t.m[id] = c
}

// get returns the check of a transaction.
func (t *pendingTable) get(id transactionID) (pendingCheck, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.m[id]
	return c, ok
}

// remove forgets one check.
func (t *pendingTable) remove(id transactionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, id)
}

// forget drops the checks of a peer.
func (t *pendingTable) forget(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, c := range t.m {
		if c.peer == p {
			delete(t.m, id)
		}
	}
}
