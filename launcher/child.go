package launcher

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A child is a program and its boxer-init, as the supervisor sees them.
type child struct {
	init int // boxer-init's pid
	pid  int // the program's
	c    control

	telling sync.Mutex // held while an initCommand is sent
	closed  bool       // c is closed

	own namespaces // see inOwnNamespaces

	effects *processEffects
	log     *slog.Logger

	uncovered string // why /proc/net has the host's files; set by start

	executions executions

	status int // the exit code; set by watch
}

// An ExitError means that the command could not be started. It has the exit code to end
// with.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode returns Code.
func (e *ExitError) ExitCode() int { return e.Code }

// prepare starts boxer-init, which then waits for its startRequest. Starting it takes a
// few milliseconds, during which the node joins its network.
func prepare(cfg *RunConfig, effects *processEffects) (*child, error) {
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	executable := cfg.Executable
	if executable == "" {
		executable = "/proc/self/exe"
	}
	// The program inherits boxer's descriptors under their own numbers, so the control
	// socket keeps its number. It therefore lacks the close-on-exec flag for a moment,
	// which is safe only where no other goroutine starts processes.
	streams := cfg.streams()
	files := []uintptr{uintptr(streams[0]), uintptr(streams[1]), uintptr(streams[2])}
	fd := int(theirs.Fd())
	if effects.Descriptors {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	} else {
		files = append(files, uintptr(fd))
		fd = 3
	}
	var pid int
	var own namespaces
	if err == nil {
		own, err = inOwnNamespaces(func() (err error) {
			pid, err = syscall.ForkExec(executable, []string{initName, strconv.Itoa(fd)},
				&syscall.ProcAttr{Env: cfg.environ(), Files: files})
			return err
		})
	}
	if err != nil {
		ours.f.Close()
		return nil, fmt.Errorf("start boxer-init: %w", err)
	}
	return &child{init: pid, c: ours, own: own, effects: effects,
		log: cfg.Logger}, nil
}

// abandon ends a child whose program has not been started.
func (c *child) abandon() {
	c.close()
	wait(c.init)
}

// start has boxer-init start the program. It fails with *ExitError if the program cannot
// be executed. pass is a descriptor that goes with the request, or -1. start calls listen
// with the filter's listener if the request has a filter; if the request is Served, it
// calls listen before the program starts.
func (c *child) start(o startRequest, pass int, listen func(*os.File) error) error {
	if err := c.c.send(o, pass); err != nil {
		return c.failed(err)
	}
	var r childEvent
	listening := listen == nil
	f, err := c.c.receive(&r)
	if err == nil && r.Listening && f != nil {
		if err = c.listen(f, listen); err != nil {
			return err
		}
		r, listening = childEvent{}, true
		_, err = c.c.receive(&r)
	}
	switch {
	case errors.Is(err, io.EOF):
		// boxer-init was killed, and may have started the program just before.
		c.orphaned()
		return &ExitError{Code: exitSignal + int(unix.SIGKILL),
			Err: errors.New("boxer-init was killed while it started the program")}
	case err != nil:
		return c.failed(err)
	case r.Failed != "":
		wait(c.init)
		return &ExitError{Code: r.Code, Err: errors.New(r.Failed)}
	case !listening && f == nil:
		return c.failed(errors.New("it sent no listener"))
	}
	c.pid, c.uncovered = r.Started, r.Uncovered
	if !listening {
		return c.listen(f, listen)
	}
	return nil
}

// failed ends the tree after an error of the control socket.
func (c *child) failed(err error) error {
	c.abort()
	c.orphaned()
	return fmt.Errorf("boxer-init: %w", err)
}

// listen passes the listener on. After an error, no process of the tree is left.
func (c *child) listen(f *os.File, listen func(*os.File) error) error {
	err := listen(f)
	if err != nil {
		c.abort()
		c.orphaned()
	}
	return err
}

// abort has boxer-init kill the tree and end, as it does when the supervisor dies.
func (c *child) abort() {
	c.telling.Lock()
	defer c.telling.Unlock()
	if !c.closed {
		unix.Shutdown(int(c.c.f.Fd()), unix.SHUT_RDWR)
	}
}

// orphaned kills the tree after boxer-init has ended by SIGKILL, or is about to end after
// abort.
func (c *child) orphaned() {
	if c.effects.Reaper { // the tree's processes are this process's children now
		killTree(nil, c.effects.others...)
		return
	}
	if c.pid > 0 {
		unix.Kill(c.pid, unix.SIGKILL)
	}
	wait(c.init)
}

// wait waits for a child of this process.
func wait(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// watch waits until the program has ended. When a signal stops the program, boxer-init
// also stops this process, if Effects.JobControl is set.
func (c *child) watch() {
	defer c.executions.end()
	for {
		var r childEvent
		f, err := c.c.receive(&r)
		if err == nil && r.Exec != nil {
			c.executions.event(r.Exec, f)
			continue
		}
		switch {
		case err != nil:
			if !errors.Is(err, io.EOF) {
				c.log.Error("boxer-init", "err", err)
			}
			c.orphaned()
			c.status = exitSignal + int(unix.SIGKILL)
			return
		case r.Stop > 0:
			if c.effects.Signals {
				noteStop()
			}
			c.tell(initCommand{Stop: r.Stop})
		case r.Exited:
			c.status = r.Status
			c.tell(initCommand{Done: true})
			wait(c.init)
			return
		}
	}
}

// tell sends an initCommand to boxer-init, with descriptors. It returns false if
// boxer-init has ended; watch notices that, too.
func (c *child) tell(w initCommand, fds ...int) bool {
	c.telling.Lock()
	defer c.telling.Unlock()
	return !c.closed && c.c.sendAll(w, fds...) == nil
}

// close releases the child's resources. No process of the tree is left.
func (c *child) close() error {
	c.telling.Lock()
	defer c.telling.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.c.f.Close()
}
