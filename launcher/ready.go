package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// ReadyWhen says when a node is ready. Until then its name does not lead to it, and
// those who wait for its name wait on. Exactly one field is set.
type ReadyWhen struct {
	Port    uint16 // its program, or one of its commands, listens on that TCP port
	File    string // that file exists
	Command string // that command of sh(1), run in the node again and again, ends with 0
}

// ParseReadyWhen reads PORT, file:PATH and command:COMMAND.
func ParseReadyWhen(s string) (*ReadyWhen, error) {
	if path, ok := strings.CutPrefix(s, "file:"); ok && path != "" {
		return &ReadyWhen{File: path}, nil
	}
	if command, ok := strings.CutPrefix(s, "command:"); ok && command != "" {
		return &ReadyWhen{Command: command}, nil
	}
	if port, err := strconv.ParseUint(s, 10, 16); err == nil && port > 0 {
		return &ReadyWhen{Port: uint16(port)}, nil
	}
	return nil, fmt.Errorf("%q: use a port such as 5432, file:PATH, or command:COMMAND such as \"command:pg_isready -h localhost\"", s)
}

// The program is looked at often at first, and then more rarely: what it does to get
// ready does not become slower by being watched.
const (
	readyLook    = 10 * time.Millisecond
	readyLookMax = 250 * time.Millisecond
)

// await waits until the node is ready.
func (r *ReadyWhen) await(ctx context.Context, p *Program) error {
	for pause := readyLook; ; pause = min(2*pause, readyLookMax) {
		if ok, err := r.holds(ctx, p); ok || err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *ReadyWhen) holds(ctx context.Context, p *Program) (bool, error) {
	switch {
	case r.Port != 0:
		return slices.Contains(p.n.calls.ListeningPorts(), r.Port), nil
	case r.File != "":
		_, err := os.Stat(r.File)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.n.member.log.Debug("not ready", "err", err)
		}
		return err == nil, nil
	}
	e, err := p.Exec(ctx, ExecConfig{Argv: []string{"/bin/sh", "-c", r.Command}})
	if err != nil {
		return false, fmt.Errorf("the command that shows whether it is ready: %w", err)
	}
	defer time.AfterFunc(readyCommand, func() { _ = e.Signal(unix.SIGKILL) }).Stop()
	return e.Wait() == 0, nil
}

// readyCommand bounds how long the command of ReadyWhen may take. One that takes longer
// is killed, and started again.
const readyCommand = 10 * time.Second

// announceReady lists the node when it is ready. It ends with the program.
func (p *Program) announceReady(when *ReadyWhen) {
	if when == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.ready.Go(func() {
		err := when.await(ctx, p)
		if err == nil {
			err = p.n.member.present(ctx, func(now *coordinator.Presence) {
				now.Unlisted = false
			})
		}
		if err != nil && ctx.Err() == nil {
			p.n.member.log.Error("this node is not listed: nobody finds it by its name",
				"err", err)
		}
	})
	p.endReady = cancel
}

// SetListed lists the node under its name, or not any more: then its name does not lead
// to it, while its connections go on. It returns when the coordinator has told the other
// nodes, or ctx ends.
func (p *Program) SetListed(ctx context.Context, listed bool) error {
	return p.n.member.present(ctx, func(now *coordinator.Presence) { now.Unlisted = !listed })
}

// present changes what the node says about itself.
func (m *member) present(ctx context.Context, change func(*coordinator.Presence)) error {
	m.presenting.Lock()
	defer m.presenting.Unlock()
	next := m.presence
	change(&next)
	m.presence = next
	return m.client.SetPresence(ctx, next)
}
