package project

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Config says how a supervisor works.
type Config struct {
	Dir    Dir
	Boxer  string // path of the program boxer
	Logger *slog.Logger
}

// A Supervisor runs the services of one project. Its methods may be called from any
// goroutine.
type Supervisor struct {
	cfg    Config
	log    *slog.Logger
	spawn  *spawner
	lines  *logbook
	events broker

	applying sync.Mutex // held by what starts and stops instances
	network  *network   // nil: none yet; guarded by applying

	mu          sync.Mutex
	plan        Plan
	coordinator int           // its pid, 0: none
	instances   []*instance   // in the order of their creation
	changed     chan struct{} // closed, and replaced, when an instance has changed
}

// An instance is one instance of a service.
type instance struct {
	svc  Service
	hash string

	cancel context.CancelFunc // ends the waits of keep, and restarts
	ctx    context.Context
	done   chan struct{} // closed when keep has returned

	// Guarded by Supervisor.mu.
	InstanceState
	proc *process // nil: none runs
}

// newSupervisor returns the supervisor of a project, whose lock the caller has.
func newSupervisor(cfg Config) (*Supervisor, error) {
	s := &Supervisor{cfg: cfg, log: cfg.Logger, spawn: newSpawner(),
		changed: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	// What a killed boxer run leaves falls to this process, which waits for it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
	}
	if err := cfg.Dir.endLeftovers(DefaultGrace); err != nil {
		return nil, err
	}
	var err error
	s.lines, err = openLogbook(cfg.Dir)
	return s, err
}

// change changes an instance and tells those who wait. The state is saved.
func (s *Supervisor) change(i *instance, f func(*InstanceState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&i.InstanceState)
	s.tellLocked()
}

// tellLocked wakes who waits for a change, and saves the state.
func (s *Supervisor) tellLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
	if err := s.cfg.Dir.saveState(s.stateLocked()); err != nil {
		s.log.Error("state not saved", "err", err)
	}
}

func (s *Supervisor) stateLocked() State {
	st := State{Name: s.cfg.Dir.Name, Dir: s.plan.Dir, Instances: []InstanceState{},
		Coordinator: s.coordinator, Began: startTime(s.coordinator)}
	for _, i := range s.instances {
		st.Instances = append(st.Instances, i.InstanceState)
	}
	return st
}

// State returns what is known now.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stateLocked()
}

// await waits until f returns true, which is called under s.mu after each change.
func (s *Supervisor) await(ctx context.Context, f func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := f(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// of returns the instances of the services, of all if there are no names. A name may also
// be that of an instance.
func (s *Supervisor) of(names ...string) []*instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ofLocked(names...)
}

func (s *Supervisor) ofLocked(names ...string) (some []*instance) {
	for _, i := range s.instances {
		if len(names) == 0 || matches(names, i.Name) {
			some = append(some, i)
		}
	}
	return some
}

// matches reports whether the names have an instance or its service.
func matches(names []string, instance string) bool {
	service := instance[:max(strings.LastIndexByte(instance, '-'), 0)]
	return slices.Contains(names, instance) || slices.Contains(names, service)
}

// add makes an instance of a service and begins to keep it.
func (s *Supervisor) add(svc Service, index int) {
	i := &instance{svc: svc, hash: svc.hash(), done: make(chan struct{})}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.InstanceState = InstanceState{Name: instanceName(svc.Name, index),
		Service: svc.Name, Index: index, State: Waiting, Host: svc.Host,
		Command: strings.Join(svc.Argv, " "), Publish: svc.Publish,
		Created: time.Now().UTC()}
	if svc.Health != nil {
		i.Health = HealthStarting
	}
	s.mu.Lock()
	s.instances = append(s.instances, i)
	s.tellLocked()
	s.mu.Unlock()
	s.event(i, "create", nil)
	go s.keep(i) // ends with the instance, see stop
}

// remove forgets instances that have ended.
func (s *Supervisor) remove(gone []*instance) {
	if len(gone) == 0 {
		return
	}
	s.mu.Lock()
	s.instances = slices.DeleteFunc(s.instances, func(i *instance) bool {
		return slices.Contains(gone, i)
	})
	s.tellLocked()
	s.mu.Unlock()
	for _, i := range gone {
		s.event(i, "destroy", nil)
		if err := os.RemoveAll(filepath.Join(s.cfg.Dir.file(filesDir), i.Name)); err != nil {
			s.log.Error("files not removed", "instance", i.Name, "err", err)
		}
	}
}

// errNoService means that a name is not in the project.
var errNoService = errors.New("no such service")

// check returns an error for a name that is neither a service nor an instance.
func (s *Supervisor) check(names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.plan.service(name) == nil && len(s.ofLocked(name)) == 0 {
			return fmt.Errorf("%w: %s; the project %s has %s", errNoService, name,
				s.cfg.Dir.Name, strings.Join(s.servicesLocked(), ", "))
		}
	}
	return nil
}

func (s *Supervisor) servicesLocked() (all []string) {
	for _, svc := range s.plan.Services {
		all = append(all, svc.Name)
	}
	for _, i := range s.instances { // also of services that the plan has no more
		if !slices.Contains(all, i.Service) {
			all = append(all, i.Service)
		}
	}
	slices.Sort(all)
	return all
}

// endLeftovers ends what a supervisor that was killed has left. Its processes have got
// SIGTERM then.
func (d Dir) endLeftovers(grace time.Duration) error {
	st, err := d.readState()
	if err != nil {
		return fmt.Errorf("state of project %s: %w", d.Name, err)
	}
	left := func(sig unix.Signal) (some bool) {
		all := append(st.Instances, InstanceState{PID: st.Coordinator, Began: st.Began})
		for _, i := range all {
			if i.PID > 0 && i.Began > 0 && startTime(i.PID) == i.Began {
				some = true
				if sig > 0 {
					_ = unix.Kill(i.PID, sig)
				}
			}
		}
		return some
	}
	defer removeSockets()
	if !left(unix.SIGTERM) {
		return nil
	}
	for end := time.Now().Add(grace); left(0); {
		if time.Now().After(end) {
			left(unix.SIGKILL)
			end = time.Now().Add(grace)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}
