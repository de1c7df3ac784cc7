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

// A child is a program under supervision, as its supervisor sees it.
type child struct {
	init int // boxer-init's pid
	pid  int // the program's
	c    control

	telling sync.Mutex // held while boxer-init is told something
	closed  bool       // c is closed

	own namespaces // see inOwnNamespaces

	effects *processEffects
	log     *slog.Logger

	uncovered string // why /proc/net is the host's, when the program has been started

	status int // the exit code, when watch has returned
}

// An ExitError says that the command could not be started, and the exit code
// for that.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// prepare starts boxer-init, which waits for its startRequest: that takes a few
// milliseconds, in which the node joins its network.
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
	// Descriptors that boxer was given go on to the program under their own numbers; so
	// the control socket keeps the number that it has, where nobody else starts
	// processes: only then may it lack the close-on-exec flag for a while.
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

// abandon ends a child that has not been started.
func (c *child) abandon() {
	c.close()
	wait(c.init)
}

// start lets boxer-init start the program. It fails with *ExitError if the program cannot
// be executed. pass is a descriptor that goes with the request, or -1. listen is called
// with the filter's listener, if the request has a filter; if it asks to be served,
// that is before the program starts.
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
		// It was killed, and may have started the program just before.
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

// failed ends a tree after an error of the talk with boxer-init.
func (c *child) failed(err error) error {
	c.abort()
	c.orphaned()
	return fmt.Errorf("boxer-init: %w", err)
}

// listen hands the listener over. After an error nothing of the child is left.
func (c *child) listen(f *os.File, listen func(*os.File) error) error {
	err := listen(f)
	if err != nil {
		c.abort()
		c.orphaned()
	}
	return err
}

// abort has boxer-init kill the tree and end, as if the supervisor were gone.
func (c *child) abort() {
	c.telling.Lock()
	defer c.telling.Unlock()
	if !c.closed {
		unix.Shutdown(int(c.c.f.Fd()), unix.SHUT_RDWR)
	}
}

// orphaned ends the tree when boxer-init has ended, or is about to: by SIGKILL, or after
// abort.
func (c *child) orphaned() {
	if c.effects.Reaper { // the tree falls to this process
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

// watch follows the program until it has ended. Each time a signal stops the program,
// boxer-init stops this process, too, if that is one of the effects.
func (c *child) watch() {
	for {
		var r childEvent
		_, err := c.c.receive(&r)
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

// tell tells boxer-init something. It returns false if boxer-init is gone: see watch.
func (c *child) tell(w initCommand) bool {
	c.telling.Lock()
	defer c.telling.Unlock()
	return !c.closed && c.c.send(w, -1) == nil
}

// close releases what start took. No process of the tree is left.
func (c *child) close() error {
	c.telling.Lock()
	defer c.telling.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.c.f.Close()
}
