package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"
)

// A Presence is what a node says about itself to all others. The zero Presence is that of
// a node that is there.
type Presence struct {
	Unlisted bool `json:"unlisted,omitempty"` // see Member.Unlisted
	Asleep   bool `json:"asleep,omitempty"`   // see Member.Asleep
}

// presence returns the presence of the member.
func (m Member) presence() Presence { return Presence{m.Unlisted, m.Asleep} }

// The flags of an update of kindPresence.
const (
	flagUnresponsive byte = 1 << iota
	flagUnlisted
	flagAsleep
	knownPresence = flagUnresponsive | flagUnlisted | flagAsleep
)

// isUp reports whether the update announces a member.
func (k updateKind) isUp() bool {
	return k == kindUp || k == kindUnresponsive || k == kindPresence
}

// presenceFlags returns the flags of an update of kindPresence.
func presenceFlags(c memberRecord) (flags byte) {
	if c.unresponsive {
		flags |= flagUnresponsive
	}
	if c.presence.Unlisted {
		flags |= flagUnlisted
	}
	if c.presence.Asleep {
		flags |= flagAsleep
	}
	return flags
}

// presenceFlags reads the flags of an update of kindPresence.
func (p *parser) presenceFlags(c *memberRecord) {
	flags := p.byte()
	p.bad = p.bad || flags&^knownPresence != 0
	c.unresponsive = flags&flagUnresponsive != 0
	c.presence = Presence{flags&flagUnlisted != 0, flags&flagAsleep != 0}
}

// withoutPresence returns encoded updates for a node that does not know kindPresence. For
// such a node a member with a presence is unresponsive: the node then avoids the member
// where another one has the name, and tries to reach it where none has.
func withoutPresence(updates []byte) []byte {
	p := parser{rest: updates}
	var out []byte
	for len(p.rest) > 0 {
		rest := p.rest
		if updateKind(rest[0]) == kindAccess {
			p.skipAccess()
			out = append(out, rest[:len(rest)-len(p.rest)]...)
			continue
		}
		u := p.update()
		if p.bad { // which only the node itself may suffer from: it ends its connection
			return append(out, rest...)
		}
		if u.kind != kindPresence {
			out = append(out, rest[:len(rest)-len(p.rest)]...)
			continue
		}
		u.record.presence, u.record.unresponsive = Presence{}, true
		out = appendUp(out, u.record)
	}
	return out
}

// setPresence announces that the presence of a node has changed.
func (r *membership) setPresence(s *session, p Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.asleep.Store(p.Asleep)
	e := r.byID[s.id]
	if e == nil || e.session != s || e.presence() == p || r.frozen {
		return
	}
	e.Unlisted, e.Asleep = p.Unlisted, p.Asleep
	e.encoded = appendUp(nil, recordOf(e.Member))
	r.publishLocked(e, e.encoded, true)
}

// changePresence handles a presenceChange, and sends an ack.
func (s *Server) changePresence(c *session, change *presenceChange) error {
	slowed, err := c.limits.waitPresence(c.conn.Context())
	if err != nil {
		return err
	}
	if slowed {
		s.warnRate(c)
	}
	s.members.setPresence(c, change.Presence)
	return c.queue.add(c.conn.Context(), frame(&message{Ack: &ack{Seq: change.Seq}}))
}

// DefaultSleepLease is how long a node that is asleep stays a member.
const DefaultSleepLease = time.Hour

// Sleepers whose connections have ended stay members without any cost to their hosts. So
// they get at most a part of the network's addresses, and at most so many of one token.
const (
	sleepersPart     = 4 // one of so many addresses
	sleepersPerToken = 1024
)

// sleepsOn reports whether the member of an ended connection stays a member: the node is
// asleep, nobody has closed the connection, and there are not too many such members.
func (s *Server) sleepsOn(c *session) bool {
	cause := context.Cause(c.conn.Context())
	_, idle := errors.AsType[*quic.IdleTimeoutError](cause)
	if !c.asleep.Load() || !idle {
		return false
	}
	kept, full := s.members.keepSleeper(c)
	if full {
		s.log.Warn("a node that is asleep leaves the network: too many sleep without a connection",
			"id", c.id)
	}
	return kept
}

// keepSleeper lets the member of an ended connection stay. full reports that there are
// too many.
func (r *membership) keepSleeper(s *session) (kept, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[s.id]
	if e == nil || e.session != s {
		return false, false
	}
	all, ofToken := 0, 0
	for _, o := range r.byID {
		if o.away {
			all++
			if o.token == e.token {
				ofToken++
			}
		}
	}
	if all >= max(int(r.plan.max)/sleepersPart, 1) || ofToken >= sleepersPerToken {
		return false, true
	}
	e.away = true
	return true, false
}

// checkSleeper ends the membership of a node that has slept for too long.
func (s *Server) checkSleeper(c *session, up time.Duration) {
	if up-time.Duration(c.lastHeard.Load()) <= s.cfg.SleepLease {
		return
	}
	const text = "the lease has expired: the node has been asleep for too long"
	_ = c.conn.CloseWithError(codeLease, text)
	// The goroutine of a connection records the end of the membership, unless it has
	// ended and left the member asleep.
	if m, away := s.members.removeSleeper(c); away {
		s.recordLeave(m, c.remote, text)
	}
}

// removeSleeper ends the membership of a session. away reports whether its connection had
// ended before.
func (r *membership) removeSleeper(s *session) (m Member, away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[s.id]
	if e == nil || e.session != s {
		return m, false
	}
	r.removeLocked(e)
	return e.Member, e.away
}

// SetPresence tells the other nodes the presence of this one. It returns when the
// coordinator has it, and fails when ctx ends before. Whenever the node joins again, it
// does so in this way. A coordinator of an older version knows no presences, and
// SetPresence does nothing.
func (c *Client) SetPresence(ctx context.Context, p Presence) error {
	c.presences.Lock()
	defer c.presences.Unlock()
	c.mu.Lock()
	c.presence = p
	c.mu.Unlock()
	if err := c.tellPresence(ctx, p); err != nil {
		return fmt.Errorf("tell the presence of the node: %w", err)
	}
	return nil
}

func (c *Client) tellPresence(ctx context.Context, p Presence) error {
	var session *clientSession
	for {
		var err error
		if session, err = c.awaitSession(ctx, session); err != nil {
			return err
		}
		if !session.welcome.Presences || session.told == p {
			return nil
		}
		sent, err := session.request(ctx, func(seq uint64) *message {
			return &message{Presence: &presenceChange{Seq: seq, Presence: p}}
		})
		switch {
		case sent && err == nil:
			session.told = p
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
}

// AwaitPresence waits until ok accepts the presence of a node. It fails when the node has
// left, and when ctx or the client ends.
func (c *Client) AwaitPresence(ctx context.Context, id uint32,
	ok func(Presence) bool) error {
	for {
		m, here, changed := c.dir.watch(id)
		switch {
		case !here:
			return fmt.Errorf("node %d has left: %w", id, ErrNoNode)
		case ok(m.presence()):
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.done:
			return c.Err()
		}
	}
}

// watch returns a member, and a channel that is closed when it may have changed.
func (d *directory) watch(id uint32) (m Member, here bool, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, here = d.memberLocked(id)
	return m, here, d.changed
}

// Sleepers returns the nodes that are asleep, and a channel that is closed when that may
// have changed.
func (c *Client) Sleepers() (asleep []Member, changed <-chan struct{}) {
	d := c.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.sleepers {
		if m, ok := d.memberLocked(id); ok {
			asleep = append(asleep, m)
		}
	}
	return asleep, d.changed
}
