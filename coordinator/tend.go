package coordinator

import (
	"context"
	"errors"
	"time"
)

// farewell is how long an idle coordinator still answers after it has withdrawn
// its join file: a node that read the file just before gets in.
const farewell = time.Second

// saveEvery is how often the addresses of names are saved while they change: after a
// crash the changes of that time are missing, and joining does not wait for a file.
const saveEvery = time.Second

// tend does what time brings: it ends sessions whose lease has run out, follows
// nodes whose address changes, and ends the server when it is idle. It returns
// when ctx ends, or, with true, when the server is to end for idleness.
func (s *Server) tend(ctx context.Context, join *JoinFile) (idle bool) {
	tick := time.NewTicker(max(min(s.cfg.Lease/16, lookEvery), time.Millisecond))
	defer tick.Stop()
	var withdrawn time.Time
	var last, lenient, saved time.Duration
	for {
		select {
		case <-tick.C:
		case c := <-s.dead:
			s.bury(c)
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
		s.roster.settle(now)
		s.inquiries.tend(up, s.ask)
		if up-saved >= saveEvery {
			saved = up
			s.roster.save()
		}
		for _, c := range s.roster.sessions() {
			s.look(c, up, up < lenient)
		}
		if s.cfg.IdleExit == 0 {
			continue
		}
		switch empty := s.roster.idle(now) >= s.cfg.IdleExit; {
		case empty && withdrawn.IsZero():
			join.Withdraw()
			withdrawn = now
		case empty && now.Sub(withdrawn) >= s.farewell:
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
func (s *Server) look(c *session, up time.Duration, lenient bool) {
	if !lenient && up-time.Duration(c.heard.Load()) > s.cfg.Lease {
		_ = c.conn.CloseWithError(codeLease, "not heard for the time of a lease")
		return
	}
	asked := time.Duration(c.asked.Load())
	if silent := asked > time.Duration(c.heard.Load()) &&
		up-asked > c.patience(); silent != c.silent {
		c.silent = silent
		s.roster.setSilent(c, silent)
	}
	// quic-go follows a client whose NAT gives it another address, once the new
	// path is validated (RFC 9000 section 9), but does not say so.
	if remote := addrPortOf(c.conn.RemoteAddr()); remote != c.remote {
		c.remote = remote
		s.roster.moved(c, remote)
		c.out.offer(frame(&message{Mirror: &mirror{Reflexive: remote}}))
	}
}
