package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/boxer-sandbox/boxer/launcher"
	"github.com/boxer-sandbox/boxer/project"
)

// runControlled is runNode for the supervisor of a project, at the other end of conn.
func (r *runFlags) runControlled(ctx context.Context, cfg launcher.RunConfig,
	conn *os.File) (int, error) {
	owner, err := ownerOf(r.owner)
	if err != nil {
		return launcher.ExitBoxer, fmt.Errorf("--owner: %w", err)
	}
	c := &controlled{argv: cfg.Argv, owner: owner, started: time.Now()}
	cfg.Effects, cfg.Commands = ownProcess, c.serve
	p, err := launcher.Start(ctx, cfg)
	if err != nil {
		conn.Close()
		return launcher.ExitCodeOf(err), err
	}
	agent, err := project.ServeAgent(conn, projectNode{p})
	if err != nil {
		cfg.Logger.Warn("the project's supervisor does not know that the program runs",
			"err", err)
	}
	code, err := p.Wait()
	agent.Close()
	return code, err
}

// A projectNode is a program as its project's supervisor sees it.
type projectNode struct{ p *launcher.Program }

// Ready implements project.Node.
func (n projectNode) Ready() project.Ready {
	s := n.p.Status()
	return project.Ready{ID: s.ID, Name: s.Name, Addr: s.Addr.String(), Program: s.PID}
}

// Exec implements project.Node.
func (n projectNode) Exec(ctx context.Context, c project.Command) (project.Execution,
	error) {
	e, err := n.p.Exec(ctx, launcher.ExecConfig{Argv: c.Argv, Env: c.Env, Dir: c.Dir,
		Stdin: c.Streams[0], Stdout: c.Streams[1], Stderr: c.Streams[2],
		Terminal: c.Terminal})
	if err != nil {
		if exit, ok := errors.AsType[*launcher.ExitError](err); ok {
			err = &project.ExecError{Code: exit.Code, Text: exit.Error()}
		}
		return nil, err
	}
	return e, nil
}
