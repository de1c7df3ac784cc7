package coordinator

import (
	"context"
	"time"
)

// A node that is killed stays a member until its lease ends. A node that is started under
// its name meanwhile has to get its address. So a newcomer under a name that other nodes
// hold waits until the holders have answered a ping. A holder that does not answer within
// deadAfter is dead and loses its id. It cannot reconnect under its old identity
// (ErrEvicted).
const (
	// deadAfter is a quarter of the default lease. With a longer lease the coordinator
	// waits longer, up to maxDeadAfter.
	deadAfter    = 2 * time.Second
	maxDeadAfter = 4 * time.Second

	// maxHold limits how long a newcomer waits. It is shorter than attemptTimeout, after
	// which the newcomer's client would start again.
	maxHold = 4500 * time.Millisecond

	// holdPoll is how often the wait for the holders checks the clock. If a check is late
	// by maxPollDelay, the coordinator itself did not run, and silence proves nothing.
	holdPoll     = 100 * time.Millisecond
	maxPollDelay = 400 * time.Millisecond

	// Names that many nodes share are names of workers: it does not matter which worker
	// has which address, and hundreds of them may start at once on busy hosts. So a
	// newcomer does not wait if a name has more than maxProbedHolders holders, nor for a
	// holder that joined less than recentJoin ago.
	maxProbedHolders = probeFanout
	recentJoin       = time.Second
)

// deadAfterFor returns how long a holder may leave a ping unanswered.
func deadAfterFor(lease time.Duration) time.Duration {
	return min(max(deadAfter, lease/4), maxDeadAfter)
}

// awaitHolders waits until it is known which holders of a name are alive, and returns the
// dead ones. It fails if the newcomer has to try again later, or when ctx ends.
func (s *Server) awaitHolders(ctx context.Context, name string) (dead []*session,
	err error) {
	began := s.uptime()
	// the start of the silence that counts, and the time of the last check
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
				"the coordinator has just started, and reserves the address of %s for the node that had it", name)
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

// holders pings the holders of a name, and returns the dead ones. pending reports whether
// others may still answer. Silence counts from since.
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
		case heard >= since || up-c.joinedAt < recentJoin || c.asleep.Load():
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

// ping sends a ping to a node. If the node's send queue is full, it does not get the
// ping, and its silence proves nothing.
func (s *Server) ping(c *session, up time.Duration) {
	c.awaitingReply.Store(true)
	before := c.lastPing.Swap(int64(up)) // stored first, since the answer may come at once
	if !c.queue.tryAdd(frame(&message{Ping: &ping{}})) {
		c.lastPing.Store(before)
	}
}

// evict ends the connection of a node whose id a newcomer has got.
func (s *Server) evict(c *session, name string) {
	s.log.Info("node did not answer; another node has joined under its name", "id",
		c.id, "name", name)
	_ = c.conn.CloseWithError(codeEvicted,
		"the node did not answer, and another node has joined under its name; restart the node")
}
