package project

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// A network is how the nodes of a project join. A project's own network has a coordinator
// that listens on loopback, a process of its own, so that nodes outlive its end.
type network struct {
	join string // for boxer run --join
	url  coordinator.JoinURL

	cancel context.CancelFunc // ends the coordinator; nil: it is not the project's
	ended  chan struct{}
}

const (
	coordinatorTimeout = 10 * time.Second // bounds its start
	coordinatorPoll    = 5 * time.Millisecond
	coordinatorPause   = 200 * time.Millisecond // from its end to its next start
)

// errNetwork means that a plan names another network than the one that is used.
var errNetwork = errors.New("the project runs in another network: boxer down ends it first")

// startNetwork starts the project's network, unless it is there.
func (s *Supervisor) startNetwork(ctx context.Context, p *Plan) error {
	if s.network != nil {
		if own := s.network.cancel != nil; own != (p.Join == "") ||
			!own && s.network.join != s.joinOf(p) {
			return errNetwork
		}
		return nil
	}
	if p.Join != "" {
		return s.useNetwork(p)
	}
	running, cancel := context.WithCancel(context.Background())
	n := &network{join: "@" + s.cfg.Dir.Join(), cancel: cancel,
		ended: make(chan struct{})}
	// Those of a supervisor that was killed: its nodes are gone, and a coordinator that
	// knows of them would wait for them.
	for _, name := range []string{joinFile, networkFile, networkFile + ".names"} {
		os.Remove(s.cfg.Dir.file(name))
	}
	listen := "127.0.0.1:0"
	first, err := s.startCoordinator(listen)
	if err != nil {
		cancel()
		return err
	}
	if n.url, err = s.awaitCoordinator(ctx, first); err != nil {
		cancel()
		_ = first.Process.Kill()
		_ = first.Wait()
		s.spawn.forget(first.Process.Pid)
		return err
	}
	go s.keepCoordinator(running, n, first)
	s.network = n
	return nil
}

// joinOf returns what goes to --join. A URL, which is secret, goes into a file.
func (s *Supervisor) joinOf(p *Plan) string {
	if strings.HasPrefix(p.Join, "@") {
		return p.Join
	}
	return "@" + s.cfg.Dir.Join()
}

func (s *Supervisor) useNetwork(p *Plan) (err error) {
	n := &network{join: s.joinOf(p)}
	text := []byte(p.Join)
	if path, ok := strings.CutPrefix(p.Join, "@"); ok {
		if text, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("--join: %w", err)
		}
	} else if err := os.WriteFile(s.cfg.Dir.Join(), text, 0o600); err != nil {
		return err
	}
	if n.url, err = coordinator.ParseJoinURL(strings.TrimSpace(string(text))); err != nil {
		return fmt.Errorf("--join: %w", err)
	}
	s.network = n
	return nil
}

func (s *Supervisor) startCoordinator(listen string) (*exec.Cmd, error) {
	log, err := os.OpenFile(s.cfg.Dir.Log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.cfg.Boxer, "coordinator", "--listen", listen,
		"--state", s.cfg.Dir.file(networkFile), "--join-file", s.cfg.Dir.Join(),
		"--quiet")
	cmd.Args[0], cmd.Dir, cmd.Stderr = "boxer", "/", log
	if err := s.spawn.start(cmd); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coordinator = cmd.Process.Pid
	s.tellLocked()
	return cmd, nil
}

// awaitCoordinator waits for the join file.
func (s *Supervisor) awaitCoordinator(ctx context.Context,
	cmd *exec.Cmd) (u coordinator.JoinURL, err error) {
	for end := time.Now().Add(coordinatorTimeout); ; {
		b, err := os.ReadFile(s.cfg.Dir.Join())
		if err == nil && len(b) > 0 {
			return coordinator.ParseJoinURL(strings.TrimSpace(string(b)))
		}
		if time.Now().After(end) || startTime(cmd.Process.Pid) == 0 {
			return u, fmt.Errorf("the coordinator of the project has not started; see %s",
				s.cfg.Dir.Log())
		}
		select {
		case <-time.After(coordinatorPoll):
		case <-ctx.Done():
			return u, context.Cause(ctx)
		}
	}
}

// keepCoordinator starts the coordinator again when it ends, at the same address and with
// the same state: nodes keep their connections meanwhile, and come back.
func (s *Supervisor) keepCoordinator(ctx context.Context, n *network, cmd *exec.Cmd) {
	defer close(n.ended)
	for {
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
		_ = cmd.Wait()
		s.spawn.forget(cmd.Process.Pid)
		stop()
		for {
			select {
			case <-time.After(coordinatorPause):
			case <-ctx.Done():
				return
			}
			s.log.Warn("the coordinator has ended; starting it again")
			var err error
			if cmd, err = s.startCoordinator(n.url.Host); err == nil {
				break
			}
			s.log.Error("coordinator not started", "err", err)
		}
	}
}

// stopNetwork ends the project's own network.
func (s *Supervisor) stopNetwork() {
	if n := s.network; n != nil && n.cancel != nil {
		n.cancel()
		<-n.ended
	}
	s.network = nil
}

// observeEvery is how often the coordinator is asked for the members of a service that
// runs elsewhere.
const observeEvery = 250 * time.Millisecond

// awaitMembers waits until the nodes of a service that runs elsewhere have joined. It
// returns false if its process ends before.
func (s *Supervisor) awaitMembers(i *instance, p *process) bool {
	s.mu.Lock()
	n := s.network
	s.mu.Unlock()
	for {
		ctx, cancel := context.WithTimeout(i.ctx, coordinatorTimeout)
		snapshot, err := coordinator.Observe(ctx, n.url)
		cancel()
		var found []coordinator.Member
		for _, m := range snapshot.Members {
			if m.Name == i.nodeName() {
				found = append(found, m)
			}
		}
		if err == nil && len(found) >= i.svc.Count {
			s.change(i, func(st *InstanceState) {
				st.Node = i.nodeName()
				if len(found) > 0 {
					st.ID, st.Addr = found[0].ID, found[0].Addr.String()
				}
			})
			return true
		}
		select {
		case <-time.After(observeEvery):
		case <-p.ended:
			return false
		}
	}
}

func (i *instance) nodeName() string {
	if i.svc.NodeName != "" {
		return i.svc.NodeName
	}
	return i.svc.Name
}

// isLoopback reports whether only this host reaches the network's coordinator.
func (n *network) isLoopback() bool {
	host, _, err := net.SplitHostPort(n.url.Host)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}
