package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/internal/linux"
)

// exec runs a command in the node and carries its streams. If the client goes, the
// command gets SIGHUP, as from a terminal that hangs up.
func (s *serving) exec(ctx context.Context, c Command) (host.Result, error) {
	var e ends
	defer e.close()
	files, err := e.open(c.Terminal)
	if err != nil {
		return host.Result{}, err
	}
	x, err := s.Exec(ctx, c, files)
	e.closeTheirs()
	if err != nil {
		var exit interface{ ExitCode() int }
		if errors.As(err, &exit) {
			return host.Result{Code: exit.ExitCode(), Error: err.Error()}, nil
		}
		return host.Result{}, err
	}
	var copied sync.WaitGroup
	copied.Go(func() { _, _ = io.Copy(s.w.Stream(host.Stdout), e.stdout) })
	if e.stderr != nil {
		copied.Go(func() { _, _ = io.Copy(s.w.Stream(host.Stderr), e.stderr) })
	}
	in := host.NewInput(e.stdin, func() { _ = s.w.Write(host.Credit, nil) })
	s.read(func() { in.Close(); _ = x.Signal(syscall.SIGHUP) },
		func(kind host.Kind, b []byte) { e.feed(kind, b, x, in) })
	code := x.Wait()
	// What it has left running may hold the pipes: its output does not matter any more.
	e.endOutput()
	copied.Wait()
	return host.Result{Code: code}, nil
}

// feed passes a frame on to a command.
func (e *ends) feed(kind host.Kind, b []byte, x Execution, in *host.Input) {
	switch kind {
	case host.Stdin:
		if len(b) == 0 && e.terminal != nil {
			b = []byte{4} // ^D: a terminal has no other end
		}
		in.Add(b)
	case host.Signal:
		if len(b) == 1 {
			_ = x.Signal(syscall.Signal(b[0])) // it may have ended
		}
	case host.Window:
		var w host.WindowSize
		if e.terminal != nil && json.Unmarshal(b, &w) == nil {
			_ = linux.SetWindowSize(e.terminal, w.Rows, w.Columns)
		}
	}
}

// ends are this side's ends of a command's streams.
type ends struct {
	stdin, stdout, stderr *os.File
	terminal              *os.File // nil: pipes
	theirs                []*os.File
}

// open makes the streams and returns the command's ends.
func (e *ends) open(size *host.WindowSize) (f Files, err error) {
	if size != nil {
		return e.openTerminal(*size)
	}
	var w *os.File
	if f.Stdin, e.stdin, err = os.Pipe(); err != nil {
		return f, err
	}
	e.theirs = append(e.theirs, f.Stdin)
	if e.stdout, w, err = os.Pipe(); err != nil {
		return f, err
	}
	f.Stdout, e.theirs = w, append(e.theirs, w)
	if e.stderr, w, err = os.Pipe(); err != nil {
		return f, err
	}
	f.Stderr, e.theirs = w, append(e.theirs, w)
	return f, nil
}

func (e *ends) openTerminal(size host.WindowSize) (f Files, err error) {
	ours, theirs, err := linux.OpenTerminal()
	if err != nil {
		return f, err
	}
	e.terminal, e.stdout, e.theirs = ours, ours, []*os.File{theirs}
	if err := linux.SetWindowSize(ours, size.Rows, size.Columns); err != nil {
		return f, err
	}
	// Input closes its file; the terminal stays.
	if e.stdin, err = linux.Duplicate(ours); err != nil {
		return f, err
	}
	return Files{theirs, theirs, theirs, true}, nil
}

func (e *ends) closeTheirs() {
	for _, f := range e.theirs {
		f.Close()
	}
	e.theirs = nil
}

// endOutput ends the reads of the streams when what is in them has been read.
func (e *ends) endOutput() {
	for _, f := range []*os.File{e.stdout, e.stderr} {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(restOfOutput))
		}
	}
}

// restOfOutput is how long reads go on when a command has ended, and others hold its
// streams. What the command itself has written is read at once.
const restOfOutput = 250 * time.Millisecond

func (e *ends) close() {
	e.closeTheirs()
	for _, f := range []*os.File{e.stdin, e.stdout, e.stderr} {
		if f != nil {
			f.Close()
		}
	}
}
