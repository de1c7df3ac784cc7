package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// UpOptions say how a plan becomes what runs.
type UpOptions struct {
	// with what they depend on; empty: all
	Services      []string `json:"services,omitempty"`
	NoDeps        bool     `json:"noDeps,omitempty"` // without that
	RemoveOrphans bool     `json:"removeOrphans,omitempty"`
	Recreate      bool     `json:"recreate,omitempty"`   // also what has not changed
	NoRecreate    bool     `json:"noRecreate,omitempty"` // nor what has changed

	Timeout time.Duration `json:"timeout,omitempty"` // of stops; 0: each service's own
}

// Up makes the plan what runs: it starts what does not run, and starts anew what has
// changed. It returns when the programs run, with an error for those that do not. tell is
// told what is worth knowing.
func (s *Supervisor) Up(ctx context.Context, p Plan, o UpOptions,
	tell func(string)) error {
	if err := p.Check(); err != nil {
		return err
	}
	names, err := p.selected(o)
	if err != nil {
		return err
	}
	// tell waits for a client that does not read. Others need not wait with it.
	var notes []string
	s.applying.Lock()
	err = s.apply(ctx, p, names, o, func(text string) { notes = append(notes, text) })
	s.applying.Unlock()
	for _, text := range notes {
		tell(text)
	}
	if err != nil {
		return err
	}
	return s.awaitStarted(ctx, names)
}

// selected returns the names of the services that Up is about.
func (p *Plan) selected(o UpOptions) ([]string, error) {
	order, err := p.order()
	if err != nil || len(o.Services) == 0 {
		return order, err
	}
	want := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		svc := p.service(name)
		if svc == nil {
			return fmt.Errorf("%w: %s; the project has %s", errNoService, name,
				strings.Join(order, ", "))
		}
		want[name] = true
		for _, d := range svc.DependsOn {
			if !o.NoDeps && !want[d.Service] && p.service(d.Service) != nil {
				if err := add(d.Service); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, name := range o.Services {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(order, func(n string) bool { return !want[n] }), nil
}

func (s *Supervisor) apply(ctx context.Context, p Plan, names []string, o UpOptions,
	tell func(string)) error {
	if err := s.startNetwork(ctx, &p); err != nil {
		return err
	}
	s.mu.Lock()
	s.plan = p
	s.mu.Unlock()
	if err := s.orphans(&p, o, tell); err != nil {
		return err
	}
	var gone []*instance
	type made struct {
		svc   Service
		index int
	}
	var fresh []made
	for _, name := range names {
		svc := *p.service(name)
		if o.NoDeps {
			svc.DependsOn = nil
		}
		have := map[int]bool{}
		for _, i := range s.of(name) {
			if i.Service != name {
				continue
			}
			if i.Index <= svc.processes() && s.keeps(i, &svc, o) {
				have[i.Index] = true
				continue
			}
			gone = append(gone, i)
		}
		for index := 1; index <= svc.processes(); index++ {
			if !have[index] {
				fresh = append(fresh, made{svc, index})
			}
		}
	}
	gone = s.withDependents(gone)
	for _, i := range gone { // those that restart with what they depend on
		svc := p.service(i.Service)
		known := slices.ContainsFunc(fresh, func(m made) bool {
			return m.svc.Name == i.Service && m.index == i.Index
		})
		if svc != nil && !known && i.Index <= svc.processes() {
			fresh = append(fresh, made{*svc, i.Index})
		}
	}
	s.stopAll(gone, o.Timeout)
	s.remove(gone)
	for _, m := range fresh {
		s.add(m.svc, m.index)
	}
	return nil
}

// keeps reports whether an instance stays as it is.
func (s *Supervisor) keeps(i *instance, svc *Service, o UpOptions) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.active() && !o.Recreate && (o.NoRecreate || i.hash == svc.hash())
}

// withDependents adds the instances that are to restart with the given ones.
func (s *Supervisor) withDependents(some []*instance) []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	for again := true; again; {
		again = false
		for _, i := range s.instances {
			if slices.Contains(some, i) || !i.active() {
				continue
			}
			if slices.ContainsFunc(i.svc.DependsOn, func(d Dependency) bool {
				return d.Restart && slices.ContainsFunc(some, func(o *instance) bool {
					return o.Service == d.Service
				})
			}) {
				some, again = append(some, i), true
			}
		}
	}
	return some
}

// orphans removes the instances whose services the project has no more, or says so.
func (s *Supervisor) orphans(p *Plan, o UpOptions, tell func(string)) error {
	var orphans []*instance
	var names []string
	for _, i := range s.of() {
		if p.service(i.svc.Name) == nil {
			orphans = append(orphans, i)
			names = append(names, instanceName(i.svc.Name, i.Index))
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	if !o.RemoveOrphans {
		tell(fmt.Sprintf("%s: of services that the project has no more; --remove-orphans removes them",
			strings.Join(names, ", ")))
		return nil
	}
	s.stopAll(orphans, o.Timeout)
	s.remove(orphans)
	return nil
}

// awaitStarted waits until the programs of the services have started.
func (s *Supervisor) awaitStarted(ctx context.Context, names []string) error {
	var failed []error
	err := s.await(ctx, func() bool {
		all := true
		failed = nil
		for _, i := range s.instances {
			if !slices.Contains(names, i.Service) {
				continue
			}
			ok, err := met(&i.InstanceState, Started)
			if err != nil {
				failed = append(failed, err)
			}
			all = all && (ok || err != nil)
		}
		return all
	})
	return errors.Join(append(failed, err)...)
}

// stopAll stops instances, those that depend on others first, and waits for their end.
// timeout is from the signal to SIGKILL, 0: as each service has it.
func (s *Supervisor) stopAll(some []*instance, timeout time.Duration) {
	var all sync.WaitGroup
	for _, i := range some {
		all.Go(func() {
			for _, other := range some {
				if other != i && slices.ContainsFunc(other.svc.DependsOn,
					func(d Dependency) bool { return d.Service == i.svc.Name }) {
					<-other.done
				}
			}
			s.stop(i, timeout)
		})
	}
	all.Wait()
}

// stop stops an instance and waits for its end.
func (s *Supervisor) stop(i *instance, timeout time.Duration) {
	i.cancel()
	s.mu.Lock()
	p := i.proc
	s.mu.Unlock()
	select {
	case <-i.done:
		return
	default:
	}
	if p != nil {
		p.signal(i.stopSignal())
	}
	if timeout == 0 {
		if timeout = i.svc.Grace; timeout == 0 {
			timeout = DefaultGrace
		}
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-i.done:
	case <-timer.C:
		s.kill(i)
		<-i.done
	}
	s.event(i, "stop", nil)
}

// kill ends an instance at once.
func (s *Supervisor) kill(i *instance) {
	i.cancel()
	s.mu.Lock()
	p := i.proc
	s.mu.Unlock()
	if p != nil {
		p.signal(unix.SIGKILL)
		s.event(i, "kill", nil)
	}
}

func (i *instance) stopSignal() unix.Signal {
	if i.svc.StopSignal > 0 {
		return unix.Signal(i.svc.StopSignal)
	}
	return unix.SIGTERM
}

// Stop stops services or instances, all without names.
func (s *Supervisor) Stop(names []string, timeout time.Duration) error {
	if err := s.check(names); err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	s.stopAll(s.of(names...), timeout)
	return nil
}

// Kill sends a signal to the programs of services or instances. SIGKILL also ends what
// waits to be started. It does not wait for Up or Stop, whose waits it ends.
func (s *Supervisor) Kill(names []string, sig unix.Signal) error {
	if err := s.check(names); err != nil {
		return err
	}
	for _, i := range s.of(names...) {
		if sig == unix.SIGKILL {
			s.kill(i)
			continue
		}
		s.mu.Lock()
		p := i.proc
		s.mu.Unlock()
		if p != nil {
			p.signal(sig)
		}
	}
	return nil
}

// Restart stops services and starts them again, and what is to restart with them. With
// only what does not run, it starts them.
func (s *Supervisor) Restart(ctx context.Context, names []string, timeout time.Duration,
	onlyStopped bool) error {
	if err := s.check(names); err != nil {
		return err
	}
	s.applying.Lock()
	some := s.of(names...)
	if onlyStopped {
		some = slices.DeleteFunc(some, func(i *instance) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return i.active()
		})
	} else {
		some = s.withDependents(some)
	}
	s.stopAll(some, timeout)
	s.remove(some)
	var services []string
	for _, i := range some {
		s.add(i.svc, i.Index)
		services = append(services, i.svc.Name)
	}
	s.applying.Unlock()
	return s.awaitStarted(ctx, services)
}

// Remove stops services and forgets them; all without names.
func (s *Supervisor) Remove(names []string, timeout time.Duration) error {
	if err := s.check(names); err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	some := s.of(names...)
	s.stopAll(some, timeout)
	s.remove(some)
	return nil
}

// Wait waits until the instances of the services run and, where they have a health check,
// are healthy. An instance that has ended with exit code 0 counts as well.
func (s *Supervisor) Wait(ctx context.Context, names []string) error {
	if err := s.check(names); err != nil {
		return err
	}
	var failed error
	err := s.await(ctx, func() bool {
		all := true
		for _, i := range s.ofLocked(names...) {
			condition := Started
			if i.Health != "" {
				condition = Healthy
			}
			ok, err := met(&i.InstanceState, condition)
			if err == nil && i.State == Exited && i.ExitCode != 0 {
				err = fmt.Errorf("%s has ended with exit code %d", i.Name, i.ExitCode)
			}
			if err != nil {
				failed = err
				return true
			}
			all = all && ok
		}
		return all
	})
	return errors.Join(failed, err)
}

// close ends the project's processes.
func (s *Supervisor) close() {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.stopAll(s.of(), 0)
	s.stopNetwork()
	s.lines.close()
}
