package coordinator

import (
	"context"
	"errors"
	"time"
)

// idleLinger is how long an idle coordinator still answers after it has withdrawn its
// join file, so that a node that has just read the file can join.
const idleLinger = time.Second

// saveEvery is how often changed bindings are saved. A crash loses the changes of that
// time. In return, a join does not wait for a file.
const saveEvery = time.Second

// maintain is the maintenance loop: it ends sessions whose lease has expired, records
// nodes whose address changes, saves bindings, and ends an idle server. It returns when
// ctx ends, or returns true when the server has to end because it is idle.
func (s *Server) maintain(ctx context.Context, join *JoinFile) (idle bool) {
	tick := time.NewTicker(max(min(s.cfg.Lease/16, checkInterval), time.Millisecond))
	defer tick.Stop()
	var withdrawn time.Time
	var last, lenient, saved time.Duration
	for {
		select {
		case <-tick.C:
		case c := <-s.deadSessions:
			s.removeDead(c)
			continue
		case <-ctx.Done():
			return false
		}
		now, up := time.Now(), s.uptime()
		if up-last > s.cfg.Lease/2 {
			// The server itself did not run, so that the silence of the members proves
			// nothing.
			lenient = up + s.cfg.Lease
		}
		last = up
		s.members.endGrace(now)
		s.watchPolicy(up)
		s.probes.runDue(up, s.pingHolders)
		if up-saved >= saveEvery {
			saved = up
			s.audit.reopen()
			s.members.saveBindings()
		}
		for _, c := range s.members.sessions() {
			s.checkSession(c, up, up < lenient)
		}
		if s.cfg.IdleExit == 0 {
			continue
		}
		switch empty := s.members.idleFor(now) >= s.cfg.IdleExit; {
		case empty && withdrawn.IsZero():
			join.Withdraw()
			withdrawn = now
		case empty && now.Sub(withdrawn) >= s.linger:
			s.log.Info("coordinator ends: the network had no node", "for", s.cfg.IdleExit)
			return true
		case !empty && !withdrawn.IsZero():
			// A newer coordinator may have published its own file meanwhile. This one
			// then keeps running for the nodes that are here.
			if err := join.Restore(); err != nil && !errors.Is(err, ErrRunning) {
				s.log.Error("join file", "err", err)
			}
			withdrawn = time.Time{}
		}
	}
}

// checkSession checks the lease, the liveness and the address of one member.
func (s *Server) checkSession(c *session, up time.Duration, lenient bool) {
	if c.asleep.Load() {
		s.checkSleeper(c, up)
		return
	}
	if !lenient && up-time.Duration(c.lastHeard.Load()) > s.cfg.Lease {
		_ = c.conn.CloseWithError(codeLease, "the lease has expired: the coordinator has received nothing from the node")
		return
	}
	asked := time.Duration(c.lastPing.Load())
	if silent := asked > time.Duration(c.lastHeard.Load()) &&
		up-asked > c.pingTimeout(); silent != c.unresponsive {
		c.unresponsive = silent
		s.members.setUnresponsive(c, silent)
	}
	// quic-go follows a client whose NAT gives it another address, after validating the
	// new path (RFC 9000 section 9). It reports no event for this.
	if remote := addrPortOf(c.conn.RemoteAddr()); remote != c.remote {
		c.remote = remote
		s.members.setAddr(c, remote)
		c.queue.tryAdd(frame(&message{ObservedAddr: &observedAddr{Reflexive: remote}}))
	}
}
