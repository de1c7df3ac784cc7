package main

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/host/control"
	"github.com/boxer-sandbox/boxer/launcher"
)

// A controlled is a node that its owner controls, see package control.
type controlled struct {
	argv    []string
	owner   control.Owner // nil: nobody but the user on this host
	log     *control.Log  // nil: the output is not kept
	started time.Time
}

// serve serves a connection of somebody who wants to control the node.
func (c *controlled) serve(p *launcher.Program, conn *launcher.CommandConn) {
	_ = control.Serve(context.Background(), conn, controlledNode{c, p}, control.Access{
		Trusted: conn.Trusted, Owner: c.owner, Binding: conn.Binding,
		Proven: conn.Proven,
	}) // the client is told of errors
}

// A controlledNode is a control.Node.
type controlledNode struct {
	c *controlled
	p *launcher.Program
}

// Describe implements control.Node.
func (n controlledNode) Describe() control.Description {
	s := n.p.Status()
	return control.Description{ID: s.ID, Name: s.Name, Argv: n.c.argv, PID: s.PID,
		Started: n.c.started}
}

// Exec implements control.Node.
func (n controlledNode) Exec(ctx context.Context, c control.Command,
	f control.Files) (control.Execution, error) {
	e, err := n.p.Exec(ctx, launcher.ExecConfig{Argv: c.Argv, Env: c.Env, Dir: c.Dir,
		Stdin: f.Stdin, Stdout: f.Stdout, Stderr: f.Stderr, Terminal: f.Terminal})
	if err != nil {
		return nil, err // not e: an interface that holds nil is not nil
	}
	return e, nil
}

// Signal implements control.Node.
func (n controlledNode) Signal(s syscall.Signal) error { return n.p.Signal(s) }

// SetListed implements control.Node.
func (n controlledNode) SetListed(ctx context.Context, listed bool) error {
	return n.p.SetListed(ctx, listed)
}

// Log implements control.Node.
func (n controlledNode) Log() *control.Log { return n.c.log }

// Ended implements control.Node.
func (n controlledNode) Ended() <-chan struct{} { return n.p.Ended() }

// Result implements control.Node.
func (n controlledNode) Result() host.Result { return host.Result{Code: n.p.ExitCode()} }

// An output is the output of a program, which this process passes on and keeps.
type output struct {
	log    *control.Log
	theirs []*os.File // the program's ends
	copied sync.WaitGroup
}

// keepOutput has a program write to this process, which passes it on to its own standard
// output and error, and keeps the last part of it.
func keepOutput(cfg *launcher.RunConfig, size int) (*output, error) {
	o := &output{log: control.NewLog(size)}
	for _, s := range []struct {
		own  *os.File
		kind host.Kind
		to   **os.File
	}{{os.Stdout, host.Stdout, &cfg.Stdout}, {os.Stderr, host.Stderr, &cfg.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			o.started()
			return nil, err
		}
		*s.to, o.theirs = w, append(o.theirs, w)
		o.copied.Go(func() {
			defer r.Close()
			copyAll(r, s.own, o.log.Writer(s.kind))
		})
	}
	go func() { o.copied.Wait(); o.log.Close() }()
	return o, nil
}

// copyAll copies to both until the end of r, also when to fails: then nobody reads it.
func copyAll(r io.Reader, to, also io.Writer) {
	buf := make([]byte, 32<<10)
	for broken := false; ; {
		n, err := r.Read(buf)
		_, _ = also.Write(buf[:n])
		if !broken {
			_, e := to.Write(buf[:n])
			broken = e != nil
		}
		if err != nil {
			return
		}
	}
}

// started says that the program has the descriptors, or was not started.
func (o *output) started() {
	for _, f := range o.theirs {
		f.Close()
	}
	o.theirs = nil
}

// ownerOf returns who may control a node over the network: who text names, or else this
// user if it has a key.
func ownerOf(text string) (control.Owner, error) {
	if text != "" {
		return control.ParseOwner(text)
	}
	key, err := control.Key(false)
	if err != nil {
		return nil, nil // it has none, or none that is usable: only this user, on this host
	}
	return key.Public().(control.Owner), nil
}

// resizes returns the sizes of the terminal that f is, now and whenever they change.
func resizes(f *os.File) (first host.WindowSize, later <-chan host.WindowSize,
	stop func()) {
	changed := make(chan os.Signal, 1)
	notify(changed, unix.SIGWINCH)
	sizes, ended := make(chan host.WindowSize), make(chan struct{})
	go func() {
		for {
			select {
			case <-changed:
			case <-ended:
				return
			}
			select {
			case sizes <- windowSize(f):
			case <-ended:
				return
			}
		}
	}()
	return windowSize(f), sizes, func() { forget(changed); close(ended) }
}
