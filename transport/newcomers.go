package transport

import "sync"

// newcomers are the connections that were accepted from addresses which say nothing about
// who is there. QUIC is told how to account for received data when a handshake begins,
// and the handshake tells who the peer is. Until then each connection has an account of
// its own; then the data counts for the peer. Nobody shares an account with others.
type newcomers struct {
	mu sync.Mutex
	m  map[quicConn]*newcomer
}

// A newcomer is one such connection.
type newcomer struct {
	account    *account
	held       int64 // bytes in account that are this connection's
	identified bool
	ended      bool
}

// ofLocked returns the newcomer of a connection, which may be new.
func (w *newcomers) ofLocked(q quicConn, b *budget) *newcomer {
	c := w.m[q]
	if c == nil {
		if w.m == nil {
			w.m = make(map[quicConn]*newcomer)
		}
		c = &newcomer{account: &account{budget: b}}
		w.m[q] = c
	}
	return c
}

// identify makes the data of a connection count for a peer, who has a.
func (w *newcomers) identify(q quicConn, a *account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.ofLocked(q, a.budget)
	c.account.held.Add(-c.held)
	a.held.Add(c.held)
	c.account, c.identified = a, true
}

// end forgets a connection that has ended, as soon as it holds nothing.
func (w *newcomers) end(q quicConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[q]; c != nil {
		c.ended = true
		w.cleanLocked(q, c)
	}
}

func (w *newcomers) cleanLocked(q quicConn, c *newcomer) {
	if c.held == 0 && (c.ended || !c.identified) {
		delete(w.m, q)
	}
}
