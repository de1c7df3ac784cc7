package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// A conn is one QUIC connection to a peer. A peer has one, or two for a while after both
// sides have dialled at the same time.
type conn struct {
	peer    *peer
	quic    quicConn
	dialled bool // by this side
	since   time.Time
	stale   bool // the peer has started anew and does not know it; guarded by peer.mu

	// ipFields says that the peer knows IPFields.
	ipFields bool

	account *account
	limit   streamLimit
	credits credits

	lost     chan struct{} // closed when another connection is used for new streams
	loseOnce sync.Once

	mu      sync.Mutex
	streams map[int64]*Stream // not yet ended, by their ID
	idle    time.Time         // when the last stream ended
}

// glare bounds the time between two connections of which neither dialler knew the
// other's: no handshake takes longer. After that time, a second connection means that its
// dialler has lost the first one. glare is below Timers.Idle, so the first connection
// cannot have been lost without a sign.
func glare(t Timers) time.Duration { return min(handshakeTimeout, t.Idle/2) }

// handshakeTimeout bounds how long a handshake waits for an answer.
const handshakeTimeout = 5 * time.Second

// prefer reports whether c is to be used rather than other. Both sides come to the same
// result: of two connections that were dialled at the same time, the one that the lower
// id has dialled; otherwise the newer one.
func (c *conn) prefer(other *conn) bool {
	if c.dialled != other.dialled && c.since.Sub(other.since).Abs() < glare(c.peer.node.timers) {
		return c.dialled == (c.peer.node.config.Self < c.peer.id)
	}
	return c.since.After(other.since)
}

// add adds a connection whose handshake is done.
func (p *peer) add(q *quic.Conn, dialled bool) {
	now := time.Now()
	c := &conn{
		peer: p, quic: q, dialled: dialled, since: now, idle: now,
		account: p.account, lost: make(chan struct{}), streams: make(map[int64]*Stream),
		ipFields: q.ConnectionState().TLS.NegotiatedProtocol == ALPN,
	}
	if !dialled {
		p.node.newcomers.identify(q, p.account)
	}
	c.credits.init()
	p.mu.Lock()
	if p.ctx.Err() != nil || !p.node.start(c.serve) {
		p.mu.Unlock()
		q.CloseWithError(codeRemoved, "")
		p.node.newcomers.end(q)
		return
	}
	// A new slice: close may hold the old one.
	p.conns = append(p.conns[:len(p.conns):len(p.conns)], c)
	p.node.conns.Store(c.quic, c)
	p.chooseConnLocked()
	surplus := p.surplusLocked()
	p.mu.Unlock()
	if surplus != nil {
		surplus.quic.CloseWithError(codeSuperseded, "")
	}
	p.wake()
	p.node.log.Debug("connected", "peer", p.id, "dialled", dialled)
}

// surplusLocked returns the oldest connection that is not in use if there are more than
// maxConns, and nil otherwise.
func (p *peer) surplusLocked() *conn {
	if len(p.conns) <= maxConns {
		return nil
	}
	for _, c := range p.conns {
		if c != p.current {
			return c
		}
	}
	return nil
}

// remove removes a connection that has ended.
func (p *peer) remove(c *conn) {
	p.mu.Lock()
	conns := make([]*conn, 0, len(p.conns))
	for _, other := range p.conns {
		if other != c {
			conns = append(conns, other)
		}
	}
	p.conns = conns
	p.node.conns.Delete(c.quic)
	p.node.newcomers.end(c.quic)
	p.chooseConnLocked()
	p.mu.Unlock()
	p.wake()
	p.node.log.Debug("disconnected", "peer", p.id, "cause",
		context.Cause(c.quic.Context()))
}

// chooseConnLocked chooses the connection for new streams, and tells the other ones that
// they have lost.
func (p *peer) chooseConnLocked() {
	var best *conn
	for _, c := range p.conns {
		if c.quic.Context().Err() == nil && !c.stale && (best == nil || c.prefer(best)) {
			best = c
		}
	}
	for _, c := range p.conns {
		if c != best {
			c.loseOnce.Do(func() { close(c.lost) })
		}
	}
	if p.ctx.Err() == nil {
		p.current = best
	}
	p.changedLocked()
}

// serve accepts the peer's streams until the connection ends. It waits for all goroutines
// of the connection.
func (c *conn) serve() {
	var running sync.WaitGroup
	defer running.Wait()
	defer c.peer.remove(c)
	ctx := c.quic.Context()
	running.Go(func() { c.retire(ctx) })
	running.Go(func() { c.receiveDatagrams(ctx) })
	running.Go(func() { c.acceptDatagrams(ctx) })
	running.Go(func() { c.announce(ctx) })
	before := make(chan struct{})
	close(before)
	for {
		q, err := c.quic.AcceptStream(ctx)
		if err != nil {
			return
		}
		s := c.newStream(q)
		turn, next := before, make(chan struct{})
		s.barrier = next
		running.Go(func() { s.accept(turn) })
		before = next
	}
}

// retire closes a connection that has lost against another one, when it has had no
// streams for Timers.Linger: until then the peer may open a stream because it does not
// know yet, and the last bytes may be under way. Only the side that dialled closes it.
func (c *conn) retire(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.lost:
	}
	if !c.dialled {
		return
	}
	linger := c.peer.node.timers.Linger
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		c.mu.Lock()
		streams, idle := len(c.streams), time.Since(c.idle)
		c.mu.Unlock()
		if streams == 0 && idle >= linger {
			c.quic.CloseWithError(codeSuperseded, "")
			return
		}
		if streams > 0 {
			idle = 0
		}
		timer.Reset(linger - idle)
	}
}

// errUnanswered says that the connection ended before the peer had answered a stream's
// header. The caller may open the stream on another connection.
var errUnanswered = errors.New("connection ended before the answer")

// open opens a stream and waits for the peer's answer.
func (c *conn) open(ctx context.Context, h Header) (*Stream, error) {
	header, err := AppendHeader(nil, h)
	if err != nil {
		return nil, err
	}
	q, err := c.quic.OpenStreamSync(ctx)
	if err != nil {
		return nil, c.openError(ctx, err)
	}
	s := c.newStream(q)
	s.header = h
	s.ip.opened(h.IP, c.ipFields)
	s.answered.Store(true) // the peer answers
	stop := context.AfterFunc(ctx, func() { s.cancel(codeCanceled) })
	var status [1]byte
	if !h.HostAddr.IsValid() && !h.Urgent.Valid && !h.DirectTrial && !h.Update.Valid {
		c.credits.opening(h.Destination, false)
	}
	if _, err = q.Write(header); err == nil {
		s.widen()
		_, err = io.ReadFull(q, status[:]) // not Read: the peer's FIN may come with it
	}
	if err == nil && status[0] == statusIPFields {
		err = s.readIPFields()
		status[0] = byte(StatusOK)
	}
	canceled := !stop()
	switch {
	case err != nil:
		s.cancel(codeProtocol)
		return nil, c.openError(ctx, err)
	case canceled:
		return nil, context.Cause(ctx)
	case Status(status[0]) != StatusOK:
		s.cancel(codeNoRead)
		return nil, &StatusError{Status(status[0])}
	}
	return s, nil
}

// openError returns why a stream was not opened.
func (c *conn) openError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	lost := c.quic.Context().Err() != nil
	if errors.Is(streamError(err), ErrLost) {
		// QUIC fails the streams of a connection before it cancels the connection's
		// context. Until then the connection looks usable.
		select {
		case <-c.quic.Context().Done():
			lost = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if lost {
		return fmt.Errorf("%w: %w", errUnanswered, streamError(err))
	}
	return streamError(err)
}
