package launcher

import (
	"errors"
	"fmt"
	"io"
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

	// others are children that this process had before boxer-init, and that are not the
	// program's: a coordinator that it started, or what a shell had that executed it.
	others []int

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
func prepare() (*child, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("prctl(PR_SET_CHILD_SUBREAPER): %w", err)
	}
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// Descriptors that boxer was given go on to the program under their own
	// numbers; so the control socket keeps the number that it has.
	fd := int(theirs.Fd())
	var pid int
	others := children(os.Getpid())
	own, err := inOwnNamespaces(func() (err error) {
		pid, err = syscall.ForkExec("/proc/self/exe",
			[]string{initName, strconv.Itoa(fd)},
			&syscall.ProcAttr{Env: programEnviron(), Files: []uintptr{0, 1, 2}})
		return err
	})
	if err != nil {
		ours.f.Close()
		return nil, fmt.Errorf("start boxer-init: %w", err)
	}
	return &child{init: pid, c: ours, own: own, others: others}, nil
}

// abandon ends a child that has not been started.
func (c *child) abandon() {
	c.c.f.Close()
	unix.Wait4(c.init, nil, 0, nil)
}

// start lets boxer-init start the program. It fails with *ExitError if the program cannot
// be executed. pass is a descriptor that goes with the request, or -1. listen is called
// with the filter's listener, if the request has a filter; if it asks to be served,
// that is before the program starts.
func (c *child) start(o startRequest, pass int, listen func(*os.File) error) error {
	if err := c.c.send(o, pass); err != nil {
		return fmt.Errorf("boxer-init: %w", err)
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
		// It was killed, and may have started the program just before: the tree
		// is ours now.
		killTree(nil, c.others...)
		return &ExitError{Code: exitSignal + int(unix.SIGKILL),
			Err: errors.New("boxer-init was killed while it started the program")}
	case err != nil:
		return fmt.Errorf("boxer-init: %w", err)
	case r.Failed != "":
		unix.Wait4(c.init, nil, 0, nil)
		return &ExitError{Code: r.Code, Err: errors.New(r.Failed)}
	case !listening && f == nil:
		return errors.New("boxer-init sent no listener")
	}
	c.pid, c.uncovered = r.Started, r.Uncovered
	if !listening {
		return c.listen(f, listen)
	}
	return nil
}

// listen hands the listener over. After an error nothing of the child is left.
func (c *child) listen(f *os.File, listen func(*os.File) error) error {
	err := listen(f)
	if err != nil {
		unix.Kill(c.init, unix.SIGKILL)
		killTree(nil, c.others...)
	}
	return err
}

// watch follows the program until it has ended. Each time a signal stops the
// program, watch calls noteStop and then lets boxer-init stop this process, too.
func (c *child) watch(noteStop func()) {
	for {
		var r childEvent
		_, err := c.c.receive(&r)
		switch {
		case err != nil:
			// boxer-init is gone, by SIGKILL: the tree is ours now.
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "boxer:", err)
			}
			killTree(nil, c.others...)
			c.status = exitSignal + int(unix.SIGKILL)
			return
		case r.Stop > 0:
			noteStop()
			c.tell(initCommand{Stop: r.Stop})
		case r.Exited:
			c.status = r.Status
			c.tell(initCommand{Done: true})
			unix.Wait4(c.init, nil, 0, nil)
			return
		}
	}
}

// tell tells boxer-init something. An error would mean that it is gone: see watch.
func (c *child) tell(w initCommand) {
	c.telling.Lock()
	defer c.telling.Unlock()
	if !c.closed {
		c.c.send(w, -1)
	}
}

// close releases what start took. No process of the tree is left.
func (c *child) close() error {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.closed = true
	return c.c.f.Close()
}
