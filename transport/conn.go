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

// A conn is one QUIC connection to a peer. There is one for each peer, except
// for a while after both have dialled at the same time.
type conn struct {
	peer    *peer
	quic    quicConn
	dialled bool // by this side
	since   time.Time
	stale   bool // the peer has started anew and knows nothing of it; guarded by peer.mu

	account *account
	limit   streamLimit
	early   early

	lost     chan struct{} // closed when another connection is used for new streams
	loseOnce sync.Once

	mu      sync.Mutex
	streams map[int64]*Stream // not yet ended, by their ID
	idle    time.Time         // when the last one ended
}

// glare is how far apart, at most, the handshakes of two connections end that
// were begun without knowing of each other: no handshake takes longer. Beyond
// it a second connection means that its dialler has lost the first. It is below
// Timers.Idle, so the first cannot have been lost in silence.
func glare(t Timers) time.Duration { return min(handshakeTimeout, t.Idle/2) }

// handshakeTimeout is how long a handshake waits for an answer.
const handshakeTimeout = 5 * time.Second

// prefer reports whether c is to be used rather than other. Both sides come to
// the same result: of two that were dialled at the same time, the one dialled by
// the lower id stays; otherwise the newer one.
func (c *conn) prefer(other *conn) bool {
	if c.dialled != other.dialled && c.since.Sub(other.since).Abs() < glare(c.peer.node.timers) {
		return c.dialled == (c.peer.node.config.Self < c.peer.id)
	}
	return c.since.After(other.since)
}

// add takes in a connection whose handshake is done.
func (p *peer) add(q *quic.Conn, dialled bool) {
	now := time.Now()
	c := &conn{
		peer: p, quic: q, dialled: dialled, since: now, idle: now,
		account: p.account, lost: make(chan struct{}), streams: make(map[int64]*Stream),
	}
	if !dialled {
		p.node.newcomers.identify(q, p.account)
	}
	c.early.init()
	p.mu.Lock()
	if p.ctx.Err() != nil || !p.node.start(c.serve) {
		p.mu.Unlock()
		q.CloseWithError(codeRemoved, "")
		p.node.newcomers.end(q)
		return
	}
	// close may hold the old slice
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

// surplusLocked returns the oldest connection that is not in use, if there are too many.
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

// remove takes out a connection that has ended.
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

// serve accepts the peer's streams until the connection ends. It owns all
// goroutines of the connection.
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

// retire closes a connection that has lost against another one, once it has
// been without streams for long enough: the peer may still open one while it
// does not know, and the last bytes may still be on their way. Only the side that
// dialled does it.
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

// errUnanswered says that the connection ended before the peer had answered a
// stream's header: nothing has happened there that cannot be tried again.
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
	s.answered.Store(true) // not for this side to do
	stop := context.AfterFunc(ctx, func() { s.cancel(codeCanceled) })
	var status [1]byte
	if !h.Near.IsValid() && !h.Urgent.Valid {
		c.early.opening(h.Destination, false)
	}
	if _, err = q.Write(header); err == nil {
		s.widen()
		_, err = io.ReadFull(q, status[:]) // not Read: the peer's FIN may come with it
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

// openError says why a stream was not opened.
func (c *conn) openError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	lost := c.quic.Context().Err() != nil
	if errors.Is(streamError(err), ErrLost) {
		// QUIC fails the streams of a connection before it cancels its context. Until
		// then the connection looks as if it could be used.
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
