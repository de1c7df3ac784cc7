package coordinator

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A clientSession is the client's connection to the coordinator while it is in use.
type clientSession struct {
	*clientConn
	// frames for writeLoop; unbuffered, so that a frame that was taken is sent next
	send      chan []byte
	reportDue chan struct{} // has a token if there is a new report
	pinged    chan struct{} // has a token if the coordinator has sent a ping

	// the state that the coordinator knows; after the start of the session SetPresence
	// has it
	told Presence

	mu          sync.Mutex
	lastSeq     uint64                // sequence number of the last request
	pendingAcks map[uint64]chan error // by sequence number: callers that wait for an ack
}

// startSession puts the connection into use.
func (c *Client) startSession(conn *clientConn) *clientSession {
	session := &clientSession{clientConn: conn, send: make(chan []byte),
		told:      conn.joinedAs,
		reportDue: make(chan struct{}, 1),
		pinged:    make(chan struct{}, 1), pendingAcks: make(map[uint64]chan error)}
	c.replaceMembers(conn)
	c.setSession(session)
	c.wills.Lock()
	defer c.wills.Unlock()
	c.announceWillLocked(session)
	return session
}

// setSession sets the current session, and what its welcome said.
func (c *Client) setSession(session *clientSession) {
	conn := session.clientConn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticket, c.server, c.reflexive = conn.welcome.Ticket, conn.server,
		conn.welcome.Reflexive
	if c.reported {
		notify(session.reportDue)
	}
	c.setSessionLocked(session)
}

// replaceMembers replaces the directory's members by the list that the connection
// received.
func (c *Client) replaceMembers(conn *clientConn) {
	c.dispatcher.applyChanges(func() []change { return c.dir.replace(&conn.memberList) })
	conn.memberList = memberList{}
	if f := c.onPolicy.Load(); f != nil {
		(*f)()
	}
}

// dropSession records that there is no connection.
func (c *Client) dropSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setSessionLocked(nil)
}

func (c *Client) setSessionLocked(session *clientSession) {
	c.session = session
	close(c.sessionChanged)
	c.sessionChanged = make(chan struct{})
}

// serve runs the session until it or ctx ends, and returns why it ended.
func (c *Client) serve(session *clientSession) error {
	stop := context.AfterFunc(c.ctx, session.close)
	var writer sync.WaitGroup
	writer.Go(func() { c.writeLoop(session) })
	err := c.readLoop(session)
	if r := refusalOf(err); r != nil {
		err = r
	}
	session.close()
	writer.Wait()
	if !stop() {
		// The AfterFunc has begun. session.close above has also waited for its end.
		<-session.conn.Context().Done()
	}
	return err
}

// writeLoop sends frames and reports, and a heartbeat at each interval.
func (c *Client) writeLoop(session *clientSession) {
	every := max(min(leaseOf(session.welcome)/3, heartbeatInterval), time.Millisecond)
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		var b []byte
		select {
		case b = <-session.send:
		case <-session.reportDue:
			c.mu.Lock()
			about := c.about
			if session.version < 4 {
				about = nil
			}
			b = frame(&message{Report: &statusReport{Paths: c.paths, About: about}})
			c.mu.Unlock()
		case <-session.pinged:
			b = frame(&message{Heartbeat: heartbeatPad})
		case <-beat.C:
			b = frame(&message{Heartbeat: heartbeatPad})
		case <-session.conn.Context().Done():
			return
		}
		if _, err := session.stream.Write(b); err != nil {
			session.close()
			return
		}
	}
}

// readLoop handles the coordinator's messages until the connection ends.
func (c *Client) readLoop(session *clientSession) error {
	for {
		m, err := readMessage(session.in, maxFrame)
		if err != nil {
			return err
		}
		switch {
		case m.Updates != nil:
			if err := c.applyBatch(session, m.Updates); err != nil {
				return err
			}
		case m.Signal != nil:
			if !c.dispatcher.enqueueSignal(m.Signal.Node, m.Signal.Data) {
				c.log.Warn("signal dropped: too many signals wait for the handler", "from",
					m.Signal.Node)
			}
		case m.Ack != nil:
			session.handleAck(m.Ack)
		case m.Ping != nil:
			notify(session.pinged)
		case m.ObservedAddr != nil:
			c.mu.Lock()
			c.reflexive = m.ObservedAddr.Reflexive
			c.mu.Unlock()
			c.log.Info("the coordinator sees this node at another address", "addr",
				m.ObservedAddr.Reflexive)
		default:
			kind, _ := m.kind()
			return fmt.Errorf("%w: a coordinator sends no %s", ErrProtocol, kind)
		}
	}
}

// applyBatch applies a batch of updates, or a part of the member list, to the directory.
func (c *Client) applyBatch(session *clientSession, batch *updateBatch) error {
	if batch.list {
		last, err := session.add(batch)
		if last {
			c.replaceMembers(session.clientConn)
		}
		return err
	}
	if batch.seq != session.seq+uint64(len(batch.updates)) {
		return fmt.Errorf("%w: %d updates up to %d after update %d", ErrProtocol,
			len(batch.updates), batch.seq, session.seq)
	}
	if err := session.check(batch); err != nil {
		return err
	}
	session.seq = batch.seq
	c.dispatcher.applyChanges(func() []change { return c.dir.apply(batch.updates) })
	return nil
}

// Signal asks the coordinator to forward msg, at most MaxSignal bytes, to a node. It
// returns when the coordinator has queued msg for that node; msg may still get lost after
// that. The error wraps ErrNoNode if the node is not on the network, ErrBusy if the
// node's queue is full, and ErrDisconnected if the connection was lost before the ack.
// While there is no connection, Signal waits for one until ctx ends. Signals that one
// goroutine sends arrive in order.
func (c *Client) Signal(ctx context.Context, to uint32, msg []byte) error {
	if err := c.signal(ctx, to, msg); err != nil {
		return fmt.Errorf("signal node %d: %w", to, err)
	}
	return nil
}

func (c *Client) signal(ctx context.Context, to uint32, msg []byte) error {
	if len(msg) > MaxSignal {
		return fmt.Errorf("%d bytes, the most is %d", len(msg), MaxSignal)
	}
	var session *clientSession
	for {
		var err error
		if session, err = c.awaitSession(ctx, session); err != nil {
			return err
		}
		sent, err := session.request(ctx, func(seq uint64) *message {
			return &message{Signal: &signal{Seq: seq, Node: to, Data: msg}}
		})
		if sent || err != nil {
			return err
		}
	}
}

// awaitSession waits for a session other than lost, and returns it.
func (c *Client) awaitSession(ctx context.Context, lost *clientSession) (*clientSession, error) {
	for {
		c.mu.Lock()
		session, changed := c.session, c.sessionChanged
		c.mu.Unlock()
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		if session != nil && session != lost {
			return session, nil
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
		}
	}
}

// request sends the message that newMessage makes, and waits for its ack. If sent is
// false and err is nil, the connection was lost before any byte of the message was sent.
func (s *clientSession) request(ctx context.Context,
	newMessage func(seq uint64) *message) (sent bool, err error) {
	seq, answer := s.expectAck()
	defer s.dropAck(seq)
	lost := s.conn.Context().Done()
	select {
	case s.send <- frame(newMessage(seq)):
	case <-lost:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	select {
	case err := <-answer:
		return true, err
	case <-lost:
		return true, ErrDisconnected
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// expectAck returns a sequence number for a message, and the channel for its ack.
func (s *clientSession) expectAck() (uint64, <-chan error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSeq++
	answer := make(chan error, 1)
	s.pendingAcks[s.lastSeq] = answer
	return s.lastSeq, answer
}

func (s *clientSession) dropAck(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pendingAcks, seq)
}

// handleAck passes an ack to the caller that waits for it.
func (s *clientSession) handleAck(r *ack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, ok := s.pendingAcks[r.Seq]
	if !ok {
		return // the caller no longer waits
	}
	delete(s.pendingAcks, r.Seq)
	switch r.Code {
	case "":
		answer <- nil
	case ackNoNode:
		answer <- &noNodeError{time.Unix(0, r.At)}
	default:
		answer <- ErrBusy
	}
}

// Report tells the coordinator about this node's paths and program, for boxer status. It
// replaces the last report, and never waits. It drops the paths after the first 2,000.
func (c *Client) Report(paths []PathReport, about About) {
	kept := make([]PathReport, 0, min(len(paths), maxPaths))
	for _, p := range paths[:min(len(paths), maxPaths)] {
		if !isLabel(p.Kind) {
			p.Kind = "unknown"
		}
		// A zone has a meaning on this host only.
		if p.Remote.Addr().Zone() != "" {
			p.Remote = withoutZone(p.Remote)
		}
		kept = append(kept, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	about = about.clean()
	c.paths, c.about, c.reported = kept, &about, true
	if c.session != nil {
		notify(c.session.reportDue)
	}
}
