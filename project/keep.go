package project

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	firstRestart = 100 * time.Millisecond // doubled by each
	lastRestart  = time.Minute
	goodRun      = 10 * time.Second // ends the doubling
)

// keep runs an instance until it has ended for good, or is stopped.
func (s *Supervisor) keep(i *instance) {
	defer close(i.done)
	if err := s.awaitDependencies(i); err != nil {
		s.fail(i, err)
		return
	}
	pause := firstRestart
	for restarts := 0; ; restarts++ {
		began := time.Now()
		code, err := s.runOnce(i)
		again := i.ctx.Err() == nil && i.svc.Restart.again(code, restarts)
		if time.Since(began) >= i.svc.Restart.window() {
			pause, restarts = firstRestart, 0
		}
		if d := i.svc.Restart.Delay; d > 0 {
			pause = d
		}
		attributes := exitCodeOf(code)
		if again {
			attributes["again"] = "true"
		}
		s.event(i, "die", attributes)
		s.change(i, func(st *InstanceState) {
			st.State, st.ExitCode, st.Ended = Exited, code, time.Now().UTC()
			st.PID, st.ProgramPID, st.Began = 0, 0, 0
			st.Error = ""
			if err != nil {
				st.Error = err.Error()
			}
			if again {
				st.State = Restarting
				st.Restarts++
			}
		})
		if !again {
			return
		}
		select {
		case <-time.After(pause):
		case <-i.ctx.Done():
			s.change(i, func(st *InstanceState) { st.State = Exited })
			return
		}
		pause = min(2*pause, lastRestart)
		s.event(i, "restart", nil)
	}
}

// again reports whether a program is started again that has ended.
func (r Restart) again(code, restarts int) bool {
	switch {
	case r.Max > 0 && restarts >= r.Max:
		return false
	case r.Policy == Always:
		return true
	}
	return r.Policy == OnFailure && code != 0
}

func (r Restart) window() time.Duration {
	if r.Window > 0 {
		return r.Window
	}
	return goodRun
}

// errStopped means that an instance was stopped before its program ran.
var errStopped = errors.New("it was stopped")

// fail says that an instance does not start.
func (s *Supervisor) fail(i *instance, err error) {
	s.change(i, func(st *InstanceState) {
		st.State, st.Ended = Exited, time.Now().UTC()
		if !errors.Is(err, errStopped) {
			st.Error, st.ExitCode = err.Error(), exitBoxer
		}
	})
	if !errors.Is(err, errStopped) {
		s.event(i, "failed", map[string]string{"error": err.Error()})
	}
}

// exitBoxer is the exit code of boxer's own failures, as of boxer run.
const exitBoxer = 125

// runOnce runs the program of an instance to its end.
func (s *Supervisor) runOnce(i *instance) (code int, err error) {
	s.change(i, func(st *InstanceState) { st.State = Starting })
	cmd, err := s.command(i)
	if err != nil {
		return exitBoxer, err
	}
	out, errs := s.lines.writer(i.Name, false), s.lines.writer(i.Name, true)
	p, err := s.spawn.launch(cmd, out, errs)
	if err != nil {
		return exitBoxer, err
	}
	s.mu.Lock()
	i.proc, i.PID, i.Began = p, cmd.Process.Pid, p.began
	s.tellLocked()
	s.mu.Unlock()
	if i.ctx.Err() != nil {
		p.signal(i.stopSignal()) // it was stopped while it was started
	}
	healthy, endHealth := context.WithCancel(i.ctx)
	defer endHealth()
	started := s.awaitStart(i, p)
	if started {
		s.change(i, func(st *InstanceState) {
			st.State, st.Started, st.Ended = Running, time.Now().UTC(), time.Time{}
		})
		s.event(i, "start", nil)
		if i.svc.Health != nil {
			go s.checkHealth(healthy, i) // ends with the program
		}
	}
	<-p.ended
	out.flush()
	errs.flush()
	s.mu.Lock()
	i.proc = nil
	s.mu.Unlock()
	if why := strings.TrimPrefix(errs.last, "boxer: "); !started && why != "" &&
		i.ctx.Err() == nil {
		err = errors.New(why) // boxer run has said it
	}
	return p.code, err
}

// awaitStart waits until the program runs. It returns false if it does not.
func (s *Supervisor) awaitStart(i *instance, p *process) bool {
	if i.svc.elsewhere() {
		return s.awaitMembers(i, p)
	}
	<-p.ready
	p.mu.Lock()
	info, ok := p.info, p.ran
	p.mu.Unlock()
	if ok {
		s.change(i, func(st *InstanceState) {
			st.ID, st.Node, st.Addr, st.ProgramPID = info.ID, info.Name, info.Addr,
				info.Program
		})
	}
	return ok
}

// awaitDependencies waits until the instance may start.
func (s *Supervisor) awaitDependencies(i *instance) error {
	told := false
	for _, d := range i.svc.DependsOn {
		var failed error
		err := s.await(i.ctx, func() bool {
			ok, err := s.metLocked(d)
			if failed = err; !ok && err == nil && !told {
				told = true
				go s.event(i, "wait", map[string]string{"for": d.Service})
			}
			return ok || err != nil
		})
		switch {
		case err != nil:
			return errStopped
		case failed != nil && d.Optional:
			s.log.Warn("optional dependency", "instance", i.Name, "err", failed)
		case failed != nil:
			return fmt.Errorf("dependency failed: %w", failed)
		}
	}
	return nil
}

// metLocked reports whether a condition is met; the error says why it never will be.
func (s *Supervisor) metLocked(d Dependency) (bool, error) {
	all := true
	for _, i := range s.instances {
		if i.Service != d.Service {
			continue
		}
		ok, err := met(&i.InstanceState, d.Condition)
		if err != nil {
			return false, err
		}
		all = all && ok
	}
	return all, nil
}

func met(i *InstanceState, condition string) (bool, error) {
	if i.State == Exited && i.Error != "" {
		return false, fmt.Errorf("%s: %s", i.Name, i.Error)
	}
	switch condition {
	case Healthy:
		switch {
		case i.State == Exited:
			return false, fmt.Errorf("%s has ended with exit code %d", i.Name, i.ExitCode)
		case i.Health == HealthUnhealthy:
			return false, fmt.Errorf("%s is unhealthy", i.Name)
		}
		return i.State == Running && i.Health == HealthHealthy, nil
	case Completed:
		if i.State == Exited && (i.ExitCode != 0 || i.Started.IsZero()) {
			return false, fmt.Errorf("%s has ended with exit code %d", i.Name, i.ExitCode)
		}
		return i.State == Exited, nil
	}
	if i.State == Exited && i.Started.IsZero() {
		return false, fmt.Errorf("%s was not started, exit code %d", i.Name, i.ExitCode)
	}
	return !i.Started.IsZero() && i.State != Starting, nil
}
