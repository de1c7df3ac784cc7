// Package proctest runs other programs in the background and waits for what they write.
// Tests have [Test], which fails them where an error is returned otherwise.
package proctest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// StopPatience bounds the wait for the end of a program that was asked to end.
const StopPatience = 20 * time.Second

// A Process is a program that was started. Whoever starts it stops it.
type Process struct {
	Label string // stands for it in messages
	Cmd   *exec.Cmd
	// standard output and standard error, unless the command had its own
	Out, Err *Output
	Stdin    io.WriteCloser // nil if the command had its own
	Ended    chan struct{}  // closed when it has ended

	began  time.Time
	took   time.Duration // valid after Ended
	result error         // of Cmd.Wait; valid after Ended
}

// Start starts cmd. What cmd has not set of Stdin, Stdout and Stderr, the process has.
func Start(label string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Label: label, Cmd: cmd, Out: NewOutput(), Err: NewOutput(),
		Ended: make(chan struct{}), began: time.Now()}
	if cmd.Stdout == nil {
		cmd.Stdout = p.Out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Err
	}
	var err error
	if cmd.Stdin == nil {
		p.Stdin, err = cmd.StdinPipe()
	}
	// The end of the program does not end its children, which may hold the other end of a
	// pipe.
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = StopPatience
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", label, err)
	}
	go func() { // until the program ends, which Stop sees to
		p.result = cmd.Wait()
		p.took = time.Since(p.began)
		p.Out.End()
		p.Err.End()
		close(p.Ended)
	}()
	return p, nil
}

// Signal sends the program a signal, if it has not ended yet.
func (p *Process) Signal(signal syscall.Signal) error {
	if err := p.Cmd.Process.Signal(signal); err != nil &&
		!errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s %v: %w", p.Label, signal, err)
	}
	return nil
}

// Stop sends the program a signal and waits until it has ended. One that has not after
// StopPatience is killed, and an error returned.
func (p *Process) Stop(signal syscall.Signal) error {
	err := p.Signal(signal)
	select {
	case <-p.Ended:
		return err
	case <-time.After(StopPatience):
		err = errors.Join(err, fmt.Errorf("%s: still there %v after signal %v", p.Label,
			StopPatience, signal), p.Signal(syscall.SIGKILL))
	}
	<-p.Ended
	return err
}

// Status returns how the program has ended, as a shell has it: 128+N for signal N. It
// waits for the end. An error is of the start or the pipes, not of the program.
func (p *Process) Status() (int, error) {
	<-p.Ended
	var exit *exec.ExitError
	if p.result != nil && !errors.As(p.result, &exit) {
		return 0, fmt.Errorf("%s: %w", p.Label, p.result)
	}
	ws := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// Report says how the program fares, and what it wrote last.
func (p *Process) Report() string {
	state := "runs"
	select {
	case <-p.Ended:
		state = fmt.Sprintf("%v after %v", p.Cmd.ProcessState,
			p.took.Round(time.Millisecond))
	default:
	}
	return fmt.Sprintf("%s: %s\n--- standard output\n%s--- standard error\n%s", p.Label,
		state, p.Out.Tail(), p.Err.Tail())
}
