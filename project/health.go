package project

import (
	"context"
	"time"
)

// checkHealth checks the health of an instance until ctx ends.
func (s *Supervisor) checkHealth(ctx context.Context, i *instance) {
	h := i.svc.Health
	began, failures := time.Now(), 0
	set := func(to string) {
		s.mu.Lock()
		was := i.Health
		i.Health = to
		if was != to {
			s.tellLocked()
		}
		s.mu.Unlock()
		if was != to && to != HealthStarting {
			s.event(i, "health_status: "+to, nil)
		}
	}
	set(HealthStarting)
	for {
		interval := h.Interval
		if time.Since(began) < h.StartPeriod && h.StartInterval > 0 &&
			s.healthOf(i) == HealthStarting {
			interval = h.StartInterval
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
		ok := s.probe(ctx, i)
		switch {
		case ctx.Err() != nil:
			return
		case ok:
			failures = 0
			set(HealthHealthy)
		case time.Since(began) < h.StartPeriod && s.healthOf(i) == HealthStarting:
		default:
			if failures++; failures >= h.Retries {
				set(HealthUnhealthy)
			}
		}
	}
}

func (s *Supervisor) healthOf(i *instance) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.Health
}

// probe runs the check in the instance's node once.
func (s *Supervisor) probe(ctx context.Context, i *instance) bool {
	ctx, cancel := context.WithTimeout(ctx, i.svc.Health.Timeout)
	defer cancel()
	s.mu.Lock()
	p := i.proc
	s.mu.Unlock()
	if p == nil {
		return false
	}
	code, err := p.exec(ctx, Command{Argv: i.svc.Health.Argv}, nil)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("health check", "instance", instanceName(i.svc.Name, i.Index), "err", err)
	}
	return err == nil && code == 0 && ctx.Err() == nil
}
