//go:build quicpatched

package transport

import "github.com/quic-go/quic-go"

// This file uses boxer's patches of quic-go (third_party/quic-go).

// quicPatched says that quic-go has boxer's patches.
const quicPatched = true

// patchConfig makes a connection use the node's congestion control, and charge received
// data to the account a; nil: see newcomers.
func (n *Node) patchConfig(c *quic.Config, a *account) {
	c.CongestionControl = n.config.Congestion.controller
	c.InitialStreamReceiveWindow = waitingWindow
	c.InitialIncomingStreamReceiveWindow = waitingWindow
	c.InitialIncomingUniStreamReceiveWindow = datagramWindow
	c.MaxIncomingStreams = waitingStreams
	c.AllowStreamWindowIncrease = func(q *quic.Conn, id quic.StreamID,
		delta uint64) bool {
		c, ok := n.conns.Load(quicConn(q))
		return ok && c.(*conn).mayGrow(int64(id), int64(delta))
	}
	c.ReceiveBuffered = func(_ *quic.Conn, delta int64) { a.add(delta) }
	if a == nil {
		c.ReceiveBuffered = func(q *quic.Conn,
			delta int64) {
			n.newcomers.add(q, n.budget, delta)
		}
	}
}

// setReceiveWindow enlarges the receive window of a stream to size bytes.
func setReceiveWindow(s *quic.Stream, size uint64) { s.SetReceiveWindow(size) }

// buffered returns the memory of data that was received on a stream and not read, in
// bytes.
func buffered(s *quic.Stream) int64 { return s.Buffered() }

// setMaxIncomingStreams sets how many streams the peer may have open.
func setMaxIncomingStreams(q quicConn, n int64) {
	if c, ok := q.(*quic.Conn); ok {
		c.SetMaxIncomingStreams(n)
	}
}

// datagramWindow has room for the largest datagram on a stream of its own, in bytes.
const datagramWindow = maxDatagramHeader + MaxDatagram + 1

// add adds to what is held. QUIC calls it for each STREAM frame.
func (a *account) add(delta int64) {
	held, all := a.held.Add(delta), a.budget.held.Add(delta)
	if delta > 0 && (all > a.budget.all || held > a.budget.tooMuch()) {
		select {
		case a.budget.exceeded <- struct{}{}:
		default: // enforceBudget was woken already
		}
	}
}

// add adds to what a connection holds.
func (w *newcomers) add(q quicConn, b *budget, delta int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.ofLocked(q, b)
	c.held += delta
	c.account.add(delta)
	w.cleanLocked(q, c)
}

// mayGrow reports whether the window of a stream may grow by delta bytes, and counts
// that.
func (c *conn) mayGrow(id int64, delta int64) bool {
	c.mu.Lock()
	s := c.streams[id]
	c.mu.Unlock()
	if s == nil || !c.account.grant(delta, growthShare) {
		return false
	}
	s.noteGrant(delta)
	return true
}
