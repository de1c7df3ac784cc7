package transport

import "sync"

// newcomers has the accepted connections whose address does not tell which peer it is.
// QUIC has to know the account of a connection when the handshake begins, but only the
// handshake tells who the peer is. So each connection has an account of its own at first,
// and from identify on it uses its peer's. No two peers share an account.
type newcomers struct {
	mu sync.Mutex
	m  map[quicConn]*newcomer
}

// A newcomer is one of these connections.
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

// identify charges the data of a connection to the account a of its peer.
func (w *newcomers) identify(q quicConn, a *account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.ofLocked(q, a.budget)
	c.account.held.Add(-c.held)
	a.held.Add(c.held)
	c.account, c.identified = a, true
}

// end removes a connection that has ended, as soon as it holds nothing.
func (w *newcomers) end(q quicConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[q]; c != nil {
		c.ended = true
		w.cleanLocked(q, c)
	}
}

// cleanLocked removes a connection that holds nothing and will not be asked for.
func (w *newcomers) cleanLocked(q quicConn, c *newcomer) {
	if c.held == 0 && (c.ended || !c.identified) {
		delete(w.m, q)
	}
}
