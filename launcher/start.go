package launcher

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/transport"
)

// Run runs a program as a node and returns its exit code. An error with code 0 means that
// the program has ended, but not all of its data was delivered. An error with another
// code means the same, or that the program did not run to its end; *ExitError has an exit
// code then. The end of ctx ends Run only while the program has not been started.
func Run(ctx context.Context, cfg RunConfig) (int, error) {
	p, err := Start(ctx, cfg)
	if err != nil {
		return ExitCodeOf(err), err
	}
	return p.Wait()
}

// Start joins the network and starts a program there as a node. If ctx ends before the
// program has started, Start fails; a program that runs is not affected. *ExitError has
// the exit code for a program that cannot be executed, or for a signal that ended Start.
//
// One process may have several nodes, if at most one of them has Effects.
func Start(ctx context.Context, cfg RunConfig) (*Program, error) {
	if cfg.Interposer == InterposerSeccomp {
		if err := sandbox.CheckKernel(); err != nil {
			return nil, err
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	effects, err := cfg.Effects.apply()
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, cfg, effects)
	if err != nil {
		effects.release()
		return nil, err
	}
	return p, nil
}

func start(ctx context.Context, cfg RunConfig, effects *processEffects) (*Program, error) {
	// These three take milliseconds each, so they run concurrently.
	identity := sync.OnceValues(transport.NewIdentity)
	choose := sync.OnceValues(cfg.Interposer.choose)
	var ahead sync.WaitGroup
	ahead.Go(func() { identity() })
	ahead.Go(func() { choose() })
	defer ahead.Wait()
	c, err := prepare(&cfg, effects)
	if err != nil {
		return nil, err
	}
	// Until the program runs, this process handles signals itself.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := newStartupSignals(effects.signals, "before the program was started", cancel)
	n, err := newNode(ctx, cfg, c.own, identity, choose)
	if err == nil {
		n.startLink(cfg.Link)
		err = n.await(ctx, cfg)
	}
	if err == nil {
		err = cfg.Hold.wait(ctx)
	}
	signals.stop()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		c.abandon()
		return nil, errors.Join(err, n.close())
	}
	if err := n.start(c, cfg); err != nil {
		c.close()
		return nil, errors.Join(err, n.close())
	}
	p := newProgram(n, c, cfg)
	n.program.Store(p)
	n.attaching.begin(c.pid)
	p.announceReady(cfg.Ready)
	go p.run() // ends with the program's tree, at the latest in Close
	return p, nil
}

// start starts the program. After an error, no process of it is left.
func (n *node) start(c *child, cfg RunConfig) error {
	if r := n.recorder.Load(); r != nil && n.interposer.Abilities().Starting {
		r.skipProcess(c.init)
	}
	streams := cfg.streams()
	for _, fd := range append(streams[:], c.effects.inherited...) {
		n.calls.Adopt(fd)
	}
	req, err := n.startRequest(c, cfg)
	if err != nil {
		c.abandon()
		return err
	}
	// The control socket exists before the program: a boxer inside of it may ask at once.
	n.attaching = n.serveAttach(c.init, attachAnswer{
		Name: n.member.client.Self().Name, Program: cfg.Argv[0],
		Trapped: cfg.Trace != nil, ID: n.member.client.Self().ID,
		Coordinator: cfg.Join.Host, Commands: cfg.Commands != nil,
	})
	n.serving.Go(func() {
		// Without answers, every call would hang or fail.
		if n.served = n.interposer.Serve(n.calls.Answer); n.served != nil {
			c.abort()
		}
	})
	begin := time.Now()
	if err := n.interposer.Start(c, req); err != nil {
		return err
	}
	if n.recorder.Load() != nil && !n.interposer.Abilities().Starting {
		if path, err := exec.LookPath(cfg.Argv[0]); err == nil {
			n.calls.Executed(c.pid, begin, path, cfg.Argv, os.Environ())
		}
	}
	closeAll(c.effects.inherited)
	about := func() coordinator.About {
		return coordinator.About{Command: filepath.Base(cfg.Argv[0]),
			Ports: n.calls.ListeningPorts(), Place: cfg.Place.Name,
			Memory: cfg.Place.Memory, Arch: runtime.GOARCH}
	}
	n.member.about.Store(&about)
	n.member.aboutIsSet <- struct{}{}
	n.notify.setMain(c.pid)
	n.member.client.OnWill(func(w coordinator.Will) { c.tell(initCommand{Will: &w}) })
	return nil
}

// startRequest returns the request for boxer-init.
func (n *node) startRequest(c *child, cfg RunConfig) (req startRequest, err error) {
	req = startRequest{Argv: cfg.Argv, Signals: startedWith(),
		JobControl: c.effects.JobControl}
	if c.effects.ServiceManager {
		if n.notify, err = startNotifier(cfg.Logger); err != nil {
			return req, err
		}
	}
	req.Notify = n.notify.socket()
	if w, ok := n.member.client.Will(); ok {
		req.Will = &w
	}
	if c.own.named {
		req.Hostname = n.member.client.Self().Name
	}
	if c.own.mounted {
		req.Cover = &cover{ProcNet: n.calls.ProcNet(), SysClassNet: n.calls.SysClassNet()}
	}
	return req, nil
}

// ExitCodeOf returns the exit code of boxer run for an error of Start.
func ExitCodeOf(err error) int {
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	return ExitBoxer
}
