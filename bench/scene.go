package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/boxer-sandbox/boxer/bench/trap"
	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// A scene is the lab with everything that all contenders share.
type scene struct {
	setting
	lab                    *natlab.Lab
	public, server, client *natlab.Host

	dir     string // for all files: in the private /run, which ends with the process
	self    string // this program
	boxer   string // a copy, so that a build meanwhile does no harm
	trap    string // package trap's supervisor; empty if there is no compiler
	tunnels string // the command of that name; empty: without those contenders
	joins   string // boxer's internal/joinbench; empty: without that figure
	join    string // boxer's join URL: secret
	// joinDirect is that of a second network, whose connections may be direct.
	joinDirect string
	processes  []*process
}

const sceneDir = "/run/boxer-bench"

// startTimeout bounds how long one part of the scene may take to be ready.
const startTimeout = 40 * time.Second

// newScene builds the lab and starts boxer's coordinator on its public host.
func newScene(ctx context.Context, lab setting, o options) (_ *scene, err error) {
	s := &scene{setting: lab, dir: sceneDir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.MkdirAll(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		return s, err
	}
	if o.tunnels != "" {
		if s.tunnels, err = s.copy(o.tunnels, "tunnels"); err != nil {
			return s, err
		}
	}
	if o.joins != "" {
		if s.joins, err = s.copy(o.joins, "joins"); err != nil {
			return s, err
		}
	}
	if s.self, err = os.Executable(); err != nil {
		return s, err
	}
	if s.boxer, err = s.copy(o.boxer, "boxer"); err != nil {
		return s, err
	}
	s.trap = filepath.Join(s.dir, "bin", "supervisor")
	if err := trap.Build(ctx, s.trap); err != nil {
		fmt.Fprintln(os.Stderr, "bench: without the C supervisor:", err)
		s.trap = ""
	}
	if s.lab, err = natlab.New(ctx); err != nil {
		return s, err
	}
	if s.public, err = s.lab.Public(ctx, "public"); err != nil {
		return s, err
	}
	if s.server, err = s.lab.NATed(ctx, "server",
		natlab.NAT{Delay: lab.delay}); err != nil {
		return s, err
	}
	if s.client, err = s.lab.NATed(ctx, "client", natlab.NAT{}); err != nil {
		return s, err
	}
	if s.join, err = s.startCoordinator(ctx, "4433"); err != nil {
		return s, err
	}
	if o.wants(directName) {
		s.joinDirect, err = s.startCoordinator(ctx, "4434", "--data-path", "direct")
	}
	return s, err
}

func (s *scene) copy(from, name string) (string, error) {
	b, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	to := filepath.Join(s.dir, "bin", name)
	return to, os.WriteFile(to, b, 0o755)
}

// startCoordinator starts a coordinator and returns its join URL.
func (s *scene) startCoordinator(ctx context.Context, port string,
	flags ...string) (join string, err error) {
	args := append([]string{"coordinator", "--listen",
		s.public.Addr().String() + ":" + port}, flags...)
	p, err := s.start("coordinator", s.command(ctx, s.public, s.boxer, args...))
	if err != nil {
		return "", err
	}
	return p.await("boxer://")
}

// limit sets the rate and loss of the server's link. Call it after all contenders have
// started, because their start is not measured.
func (s *scene) limit(ctx context.Context) error {
	if s.rate > 0 {
		if err := s.server.SetRate(ctx, s.rate); err != nil {
			return err
		}
	}
	if s.loss > 0 {
		return s.server.SetLoss(ctx, s.loss)
	}
	return nil
}

// command returns the command that runs a program on a host. The program may join boxer's
// network.
func (s *scene) command(ctx context.Context, on *natlab.Host, name string,
	args ...string) *exec.Cmd {
	cmd := on.Command(ctx, name, args...)
	cmd.Env = s.environ()
	return cmd
}

// directCommand is command in the network whose connections may be direct.
func (s *scene) directCommand(ctx context.Context, on *natlab.Host, name string,
	args ...string) *exec.Cmd {
	direct := *s
	direct.join = s.joinDirect
	return direct.command(ctx, on, name, args...)
}

func (s *scene) environ() []string {
	env := append(os.Environ(), "XDG_RUNTIME_DIR="+s.dir, "XDG_STATE_HOME="+s.dir,
		"TMPDIR="+s.dir)
	if s.join != "" {
		// not as an argument, which every user of the machine could read
		env = append(env, "BOXER_JOIN="+s.join)
	}
	return env
}

// start starts a process. close stops the processes in reverse order.
func (s *scene) start(name string, cmd *exec.Cmd) (*process, error) {
	p, err := startProcess(name, cmd)
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// close ends all processes and removes the lab.
func (s *scene) close() error {
	for i := len(s.processes) - 1; i >= 0; i-- {
		s.processes[i].stop()
	}
	if s.lab == nil {
		return nil
	}
	return s.lab.Close()
}
