// Package proctest runs other programs in the background and waits for what they write.
// Tests use [Test], which fails the test instead of returning an error.
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

// StopPatience bounds how long Stop waits for the end of a program before it kills it.
const StopPatience = 20 * time.Second

// A Process is a started program. The code that starts it must stop it.
type Process struct {
	Label string // names it in messages
	Cmd   *exec.Cmd
	// standard output and standard error, unless the command had its own
	Out, Err *Output
	Stdin    io.WriteCloser // nil if the command had its own
	Ended    chan struct{}  // closed when it has ended

	began  time.Time
	took   time.Duration // valid after Ended
	result error         // of Cmd.Wait; valid after Ended
}

// Start starts cmd. If cmd does not set Stdin, Stdout or Stderr, the Process provides
// them.
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
	// The program's children may outlive it and hold the other end of a pipe.
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = StopPatience
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", label, err)
	}
	go func() { // ends with the program, which Stop ends
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

// Stop sends the program a signal and waits until it has ended. If it has not ended after
// StopPatience, Stop kills it and returns an error.
func (p *Process) Stop(signal syscall.Signal) error {
	err := p.Signal(signal)
	select {
	case <-p.Ended:
		return err
	case <-time.After(StopPatience):
		err = errors.Join(err, fmt.Errorf("%s: still running %v after signal %v", p.Label,
			StopPatience, signal), p.Signal(syscall.SIGKILL))
	}
	<-p.Ended
	return err
}

// Status waits for the end of the program and returns its status as a shell reports it:
// 128+N for signal N. An error concerns the start or the pipes, not the program.
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

// Report describes the program's state and the last lines that it wrote.
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
