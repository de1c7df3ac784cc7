package coordinator

import (
	"context"
	"time"
)

// A node that is killed remains a member until its lease ends. Where another one is
// started under its name meanwhile, that one is to get its address. So a newcomer
// under a name that somebody has waits until the holders have answered an ask. A
// holder that leaves it unanswered for deadAfter is taken for dead and loses its
// id; it cannot come back as who it was (ErrEvicted).
const (
	// deadAfter is a quarter of the default lease. A longer lease has the
	// coordinator wait longer, up to maxDeadAfter.
	deadAfter    = 2 * time.Second
	maxDeadAfter = 4 * time.Second

	// holdAtMost bounds how long a newcomer waits. It is below attemptTimeout,
	// after which the newcomer's client would begin anew.
	maxHold = 4500 * time.Millisecond

	// holdLook is how often a newcomer that waits looks at the clock. If it comes
	// late by holdLate, the coordinator itself did not run, and nobody is to blame
	// for not being heard.
	holdPoll     = 100 * time.Millisecond
	maxPollDelay = 400 * time.Millisecond

	// Names that many nodes share are those of workers: who is which of them does
	// not matter, and hundreds of them may start at once, on hosts that hardly
	// keep up. So nobody waits for one of more than holdersAsked holders, or for
	// one that has joined only just now.
	maxProbedHolders = probeFanout
	recentJoin       = time.Second
)

// deadAfterOf returns how long a holder may leave an ask unanswered.
func deadAfterFor(lease time.Duration) time.Duration {
	return min(max(deadAfter, lease/4), maxDeadAfter)
}

// awaitHolders has a newcomer wait until it is known which holders of its name are
// there, and returns those that are dead. It fails if the newcomer is to come again,
// or when ctx ends.
func (s *Server) awaitHolders(ctx context.Context, name string) (dead []*session,
	err error) {
	began := s.uptime()
	// since when holders are heard, and the clock at the last look
	since, last := began, began
	look := time.NewTicker(holdPoll)
	defer look.Stop()
	for {
		heard := s.probes.responded()
		up := s.uptime()
		if up-last > maxPollDelay {
			since = up
		}
		last = up
		over := up-began > s.maxHold
		dead, pending := s.holders(name, up, since)
		left, returning := s.members.mayReclaim(name)
		switch {
		case !pending && !returning:
			return dead, nil
		case over && returning && left < maxHold:
			return nil, refuse(codeBusy,
				"the coordinator has just started, and keeps the address of %s for the node that had it", name)
		case over:
			return dead, nil
		}
		select {
		case <-heard:
		case <-look.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// holders asks the holders of a name, and returns those that are dead. pending tells
// whether others may still answer. since is when the newcomer began to listen.
func (s *Server) holders(name string, up, since time.Duration) (dead []*session,
	pending bool) {
	all := s.members.sessionsNamed(name)
	if len(all) > maxProbedHolders {
		return nil, false
	}
	for _, c := range all {
		heard, asked := time.Duration(c.lastHeard.Load()),
			time.Duration(c.lastPing.Load())
		switch {
		case heard >= since || up-c.joinedAt < recentJoin:
		case asked <= heard:
			s.ping(c, up)
			pending = true
		case up-max(asked, since) < s.deadAfter:
			pending = true
		default:
			dead = append(dead, c)
		}
	}
	return dead, pending
}

// askOne asks a node for a sign of life. A node whose outbox is full does not get the
// ask, and is not to blame for leaving it unanswered.
func (s *Server) ping(c *session, up time.Duration) {
	c.awaitingReply.Store(true)
	before := c.lastPing.Swap(int64(up)) // first: the answer may come at once
	if !c.queue.tryAdd(frame(&message{Ping: &ping{}})) {
		c.lastPing.Store(before)
	}
}

// evict ends the connection of a node that has lost its id to a newcomer.
func (s *Server) evict(c *session, name string) {
	s.log.Info("node did not answer, and another one has joined under its name", "id",
		c.id, "name", name)
	_ = c.conn.CloseWithError(codeEvicted,
		"the node did not answer, and another one has joined under its name; start the node anew")
}
