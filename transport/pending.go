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

// replace adds a check and forgets another one. It returns false if the check's peer was
// removed: then nobody would ever forget the check.
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

// remove forgets one check.
func (t *pendingTable) remove(id transactionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, id)
}

// forget drops the checks of a peer that is removed, those to come among them: a check may
// be on its way into the table.
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
