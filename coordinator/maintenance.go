package coordinator

import (
	"context"
	"errors"
	"time"
)

// farewell is how long an idle coordinator still answers after it has withdrawn
// its join file: a node that read the file just before gets in.
const idleLinger = time.Second

// saveEvery is how often the addresses of names are saved while they change: after a
// crash the changes of that time are missing, and joining does not wait for a file.
const saveEvery = time.Second

// tend does what time brings: it ends sessions whose lease has run out, follows
// nodes whose address changes, and ends the server when it is idle. It returns
// when ctx ends, or, with true, when the server is to end for idleness.
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
			// The server itself did not run: nobody is to blame for not being heard.
			lenient = up + s.cfg.Lease
		}
		last = up
		s.members.endGrace(now)
		s.probes.runDue(up, s.pingHolders)
		if up-saved >= saveEvery {
			saved = up
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
			s.log.Info("coordinator ends: no node was there", "for", s.cfg.IdleExit)
			return true
		case !empty && !withdrawn.IsZero():
			// A newer coordinator may have taken the place meanwhile: then this
			// one stays for those who are here.
			if err := join.Restore(); err != nil && !errors.Is(err, ErrRunning) {
				s.log.Error("join file", "err", err)
			}
			withdrawn = time.Time{}
		}
	}
}

// look checks on one member.
func (s *Server) checkSession(c *session, up time.Duration, lenient bool) {
	if !lenient && up-time.Duration(c.lastHeard.Load()) > s.cfg.Lease {
		_ = c.conn.CloseWithError(codeLease, "not heard for the time of a lease")
		return
	}
	asked := time.Duration(c.lastPing.Load())
	if silent := asked > time.Duration(c.lastHeard.Load()) &&
		up-asked > c.pingTimeout(); silent != c.unresponsive {
		c.unresponsive = silent
		s.members.setUnresponsive(c, silent)
	}
	// quic-go follows a client whose NAT gives it another address, once the new
	// path is validated (RFC 9000 section 9), but does not say so.
	if remote := addrPortOf(c.conn.RemoteAddr()); remote != c.remote {
		c.remote = remote
		s.members.setAddr(c, remote)
		c.queue.tryAdd(frame(&message{ObservedAddr: &observedAddr{Reflexive: remote}}))
	}
}
