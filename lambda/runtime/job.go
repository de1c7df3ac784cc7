package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
)

// aliveEvery is the interval of Alive frames: NAT gateways drop connections that are idle
// for 350 s.
const aliveEvery = 30 * time.Second

// spare is how long before the end of an invocation its program must have ended, so that
// the rest of its output can be sent.
const spare = 500 * time.Millisecond

// A job is one order of one invocation.
type job struct {
	*server
	order    host.Order
	join     string // secret
	deadline time.Time
}

// streamed runs the program and sends its output as frames.
func (j *job) streamed(ctx, sending context.Context, id string) error {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := j.api.respond(sending, id, "application/vnd.boxer.frames", r)
		// The program goes on if its output cannot be sent any more.
		_, _ = io.Copy(io.Discard, r)
		sent <- err
	}()
	frames := host.NewWriter(w)
	stop := every(aliveEvery, func() { _ = frames.Write(host.Alive, nil) })
	// An error means that the response has ended; later errors say nothing new.
	_ = frames.WriteJSON(host.Event, host.EventMessage{Event: host.EventHere,
		Instance: j.Instance, Cold: !j.warm.Load()})
	result := j.run(ctx, output{frames.Stream(host.Stdout), frames.Stream(host.Stderr)})
	stop()
	err := errors.Join(frames.WriteJSON(host.Exit, result), w.Close())
	return errors.Join(err, <-sent)
}

// buffered runs the program and sends one report.
func (j *job) buffered(ctx, sending context.Context, id string) error {
	var stdout, stderr tail
	report := host.Report{Result: j.run(ctx, output{&stdout, &stderr})}
	report.Stdout, report.Stderr = stdout.String(), stderr.String()
	r, w := io.Pipe()
	// respond closes r, so that this ends.
	go func() { w.CloseWithError(json.NewEncoder(w).Encode(report)) }()
	return j.api.respond(sending, id, "application/json", r)
}

// every calls f at an interval until stop is called, which waits for it.
func every(interval time.Duration, f func()) (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				f()
			case <-ended:
				return
			}
		}
	}()
	return func() { close(ended); <-done }
}

// An output has the writers of a program's output. One goroutine uses each.
type output struct{ stdout, stderr io.Writer }

// run runs the program as a node until the program ends, or is ended.
func (j *job) run(ctx context.Context, out output) host.Result {
	cmd, ends, err := j.command()
	if err != nil {
		return host.Result{Code: exitBoxer, Error: err.Error()}
	}
	defer ends.close()
	if err := ends.start(cmd, out); err != nil {
		return host.Result{Code: exitBoxer, Error: err.Error()}
	}
	end := newEnding(cmd.Process, time.Duration(j.order.Grace))
	defer end.cancel()
	end.within(time.Until(j.deadline) - spare)
	defer end.at(j.deadline.Add(-spare-end.grace),
		"the function's time limit is reached")()
	defer context.AfterFunc(ctx, func() { end.begin("the platform ends the environment") })()
	if ends.control != nil {
		controlled := make(chan struct{})
		go func() {
			defer close(controlled)
			ends.serve(cmd.Process, j.order.Control, end)
		}()
		defer func() { ends.control.Close(); <-controlled }()
	}
	err = ends.wait(cmd)
	result := resultOf(err)
	if why := end.reason(); why != "" {
		result.Error = why
	}
	return result
}

// exitBoxer is the exit code of boxer's own failures, as of boxer run.
const exitBoxer = 125

// resultOf returns the result of a boxer run that ended with err.
func resultOf(err error) host.Result {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return host.Result{}
	case !errors.As(err, &exit):
		return host.Result{Code: exitBoxer, Error: err.Error()}
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return host.Result{Code: 128 + int(status.Signal()),
			Error: fmt.Sprintf("boxer run was killed: %v", status.Signal())}
	}
	return host.Result{Code: exit.ExitCode()}
}

// command returns a boxer run of the order, and this process's ends of its descriptors.
func (j *job) command() (*exec.Cmd, *ends, error) {
	args := append([]string{"run", "--keep-output"}, j.order.Node.Flags()...)
	if j.Place != "" {
		args = append(args, "--place="+j.Place)
	}
	if j.Memory > 0 {
		args = append(args, fmt.Sprintf("--memory=%d", j.Memory))
	}
	e := &ends{}
	cmd := exec.Command(j.Boxer)
	cmd.Env = setVariable(with(j.Environ, j.order.Env), joinVariable, j.join)
	if l := j.order.Node.Log; l != "" {
		cmd.Env = setVariable(cmd.Env, "BOXER_LOG", l)
	}
	cmd.Dir = j.order.Dir
	if err := e.open(cmd, j.order.Control); err != nil {
		return nil, nil, errors.Join(err, e.close())
	}
	if c := j.order.Control; c != nil {
		args = append(args, fmt.Sprintf("--link=%d=%s", linkFD, c.Address))
		if c.Hold {
			args = append(args, fmt.Sprintf("--hold=%d", holdFD))
		}
	}
	cmd.Args = append(append([]string{"boxer"}, args...), "--")
	cmd.Args = append(cmd.Args, j.order.Argv...)
	return cmd, e, nil
}

// A tail keeps the last host.MaxReport bytes that are written to it.
type tail struct{ b []byte }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if over := len(t.b) - 2*host.MaxReport; over > 0 {
		t.b = append(t.b[:0], t.b[len(t.b)-host.MaxReport:]...)
	}
	return len(b), nil
}

// String returns the bytes.
func (t *tail) String() string { return string(t.b[max(0, len(t.b)-host.MaxReport):]) }

// An ending ends a process: by SIGTERM, and after the grace by SIGKILL.
type ending struct {
	process *os.Process
	grace   time.Duration

	mu    sync.Mutex
	why   string
	timer *time.Timer
	over  bool
}

func newEnding(p *os.Process, grace time.Duration) *ending {
	if grace == 0 {
		grace = host.DefaultGrace
	}
	return &ending{process: p, grace: grace}
}

// within limits the grace to half of the time that is left, so that a program is not
// ended when it has just begun.
func (e *ending) within(left time.Duration) { e.grace = max(0, min(e.grace, left/2)) }

// begin sends SIGTERM, and SIGKILL after the grace. Only the first call counts.
func (e *ending) begin(why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.why != "" || e.over {
		return
	}
	e.why = why
	_ = e.process.Signal(unix.SIGTERM)
	e.timer = time.AfterFunc(e.grace, func() { _ = e.process.Kill() })
}

// at calls begin at a time, unless the returned function is called before.
func (e *ending) at(t time.Time, why string) (stop func() bool) {
	return time.AfterFunc(time.Until(t), func() { e.begin(why) }).Stop
}

// soon calls begin after a time in which the process should have ended by itself.
func (e *ending) soon(why string) {
	time.AfterFunc(linkEnds, func() { e.begin(why) })
}

// linkEnds is how long boxer run may take to end after its link has ended.
const linkEnds = 500 * time.Millisecond

// reason returns why the process was ended, empty if it was not.
func (e *ending) reason() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.why
}

// cancel stops the timers: the process has ended.
func (e *ending) cancel() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	if e.timer != nil {
		e.timer.Stop()
	}
}
