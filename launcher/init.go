package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/sandbox"
)

// initName is boxer-init's argv[0]. Supervisor and boxer-init are the same executable.
const initName = "boxer-init"

// Exit codes of env(1) and the shells, and boxer's own.
const (
	ExitBoxer         = 125 // boxer itself failed
	ExitNotExecutable = 126
	ExitNotFound      = 127
	exitSignal        = 128 // plus the signal's number
)

// IsInit reports whether this process was started as boxer-init. Then main must call Init
// and nothing else.
func IsInit() bool { return len(os.Args) == 2 && os.Args[0] == initName }

// Init is the main function of boxer-init. It starts the program that the supervisor
// names, reaps the tree, and ends when the tree or the supervisor has ended. It returns
// the process's exit code, which no process reads.
func Init() int {
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return ExitBoxer
	}
	unix.CloseOnExec(fd)
	inheritedFDs := inheritedFDs()
	surviveSignals()
	c := newControl(fd)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		c.send(childEvent{Failed: "prctl(PR_SET_CHILD_SUBREAPER): " + err.Error(),
			Code: ExitBoxer}, -1)
		return ExitBoxer
	}
	var o startRequest
	loader, err := c.receive(&o)
	if err != nil {
		return ExitBoxer // the supervisor has failed and has reported why
	}
	// Only now: a wait for children must find the program's.
	uncovered := ""
	if o.Cover != nil {
		if err := o.Cover.mount(); err != nil {
			uncovered = err.Error()
		}
	}
	pid, listener, err := startProgram(o, c, loader)
	if err != nil {
		msg, code := explain(o.Argv[0], err)
		c.send(childEvent{Failed: msg, Code: code}, -1)
		return code
	}
	closeAll(inheritedFDs)
	// A signal to the process group may kill the supervisor and the program. It must not
	// kill this process, which then ends the rest of the tree and tells the coordinator.
	unix.Setpgid(0, 0) // fails only for a session leader, which this process is not
	pass := -1         // the supervisor has the listener already
	if listener != nil {
		pass = int(listener.Fd())
	}
	err = c.send(childEvent{Started: pid, Uncovered: uncovered}, pass)
	listener.Close()
	if err != nil {
		killTree(nil)
		return ExitBoxer
	}
	t := &tree{pid: pid, c: c, supervisor: -1, notify: o.Notify, started: o,
		will: o.Will, grace: &terminateGrace, done: make(chan struct{})}
	if o.JobControl {
		t.supervisor = openSupervisor()
	}
	if t.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		t.pidfd = -1
	}
	go t.watchSupervisor() // ends with this process
	return t.reap()
}

// startProgram starts the command under the filter, or under the loader. listener is nil
// if the supervisor already has it, or if there is no filter.
func startProgram(o startRequest, c control, loader *os.File) (pid int, listener *os.File,
	err error) {
	o.Signals.ignore()
	if o.Hostname != "" { // before the filter, which may trap sethostname(2)
		if err := unix.Sethostname([]byte(o.Hostname)); err != nil {
			return 0, nil, os.NewSyscallError("sethostname", err)
		}
	}
	if o.Loader {
		pid, err = startLoader(o, loader)
		return pid, nil, err
	}
	prog, err := sandbox.ParseProgram(o.Filter)
	if err != nil {
		return 0, nil, err
	}
	path, err := exec.LookPath(o.Argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return 0, nil, err
	}
	start := func() error {
		if err := o.Signals.block(); err != nil {
			return err
		}
		pid, err = forkExec(path, o)
		return err
	}
	if o.Served {
		err = sandbox.StartServed(prog, func(listener *os.File) error {
			defer listener.Close()
			return c.send(childEvent{Listening: true}, int(listener.Fd()))
		}, start)
		return pid, nil, err
	}
	listener, err = sandbox.StartFiltered(prog, start)
	return pid, listener, err
}

// startLoader starts the loader, which asks the supervisor for the program to run.
func startLoader(o startRequest, loader *os.File) (pid int, err error) {
	defer loader.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends, and its signal mask
		if err = o.Signals.block(); err == nil {
			pid, err = forkExec(fmt.Sprintf("/proc/self/fd/%d", loader.Fd()), o)
		}
	}()
	<-done
	return pid, err
}

// forkExec starts path. As with execvp(3), the shell runs a script without an interpreter
// line.
func forkExec(path string, o startRequest) (int, error) {
	env, own := programEnv(os.Environ(), os.Getppid(), o.Notify)
	start := func(path string, argv []string) (int, error) {
		if len(own) > 0 {
			return spawn(path, argv, env, own, o.Signals.Mask)
		}
		return syscall.ForkExec(path, argv,
			&syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	}
	pid, err := start(path, o.Argv)
	if errors.Is(err, syscall.ENOEXEC) {
		pid, err = start("/bin/sh", append([]string{"/bin/sh", path}, o.Argv[1:]...))
	}
	if err != nil {
		return 0, &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	return pid, nil
}

// explain returns why a command did not start, and the exit code for that.
func explain(name string, err error) (string, int) {
	var start *fs.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return name + ": command not found", ExitNotFound
	case errors.Is(err, sandbox.ErrFilterBusy):
		return fmt.Sprintf("start %s: a supervisor has this process tree already, and Linux allows one (seccomp(2), EBUSY); run it outside of the other boxer run", name), ExitBoxer
	case errors.Is(err, unix.EISDIR):
		return name + ": is a directory", ExitNotExecutable
	case errors.Is(err, fs.ErrPermission) && isFile(err):
		return name + ": permission denied: not an executable file", ExitNotExecutable
	case errors.As(err, &start):
		return fmt.Sprintf("%s: cannot execute: %v", name, start.Err), ExitNotExecutable
	}
	return fmt.Sprintf("start %s: %v", name, err), ExitBoxer
}

// isFile reports whether an error is about the program's file. seccomp(2) may also fail
// with EACCES.
func isFile(err error) bool {
	var start *fs.PathError
	var look *exec.Error
	return errors.As(err, &start) || errors.As(err, &look)
}

// A tree is the program and all that descends from it.
type tree struct {
	pid        int
	pidfd      int // of pid, -1 if there is none
	c          control
	supervisor int    // a pidfd, -1 if this process does not stop or continue it
	notify     string // the notifier's socket: removed here if the supervisor dies

	started  startRequest
	commands commands // that run beside the program

	done chan struct{}     // closed when the supervisor knows that the program has ended
	will *coordinator.Will // nil: none; watchSupervisor has it

	mu    sync.Mutex // also held while the supervisor is signalled
	stops uint64     // how often a signal has stopped the program
	runs  bool       // the program has run again since the last stop
	// grace is the time between SIGTERM and SIGKILL for processes that outlive the
	// program; nil: they get SIGKILL at once.
	grace *time.Duration
}

// watchSupervisor kills the tree when the supervisor has ended: without a supervisor,
// every trapped call would fail with ENOSYS.
func (t *tree) watchSupervisor() {
	for {
		var w initCommand
		files, err := t.c.receiveAll(&w)
		if err != nil {
			break
		}
		if w.Exec != nil {
			t.exec(*w.Exec, files)
		}
		if w.Will != nil {
			t.will = w.Will
		}
		if w.Stop > 0 {
			t.stopSupervisor(w.Stop)
		}
		if w.Signal > 0 {
			t.signal(unix.Signal(w.Signal))
		}
		if w.Kill {
			t.mu.Lock()
			t.grace = nil
			t.mu.Unlock()
			t.signal(unix.SIGKILL)
		}
		if w.Done {
			close(t.done)
			return
		}
	}
	sendWill(t.will)
	killTree(nil)
	removeNotify(t.notify)
	for range willRepeats { // datagrams get lost
		time.Sleep(willPause)
		sendWill(t.will)
	}
	os.Exit(ExitBoxer)
}

// reap reaps every process of the tree, and reports the program's state changes. When the
// program has ended, it ends the rest of the tree.
func (t *tree) reap() int {
	signal.Ignore(unix.SIGPIPE) // watchSupervisor handles the supervisor's end
	runtime.LockOSThread()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WUNTRACED|unix.WCONTINUED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil: // ECHILD: impossible before the program's own end
			return ExitBoxer
		case pid != t.pid:
			t.commandEnded(pid, ws)
			continue
		case ws.Stopped():
			t.stopped()
			continue
		case ws.Continued():
			t.continueSupervisor()
			continue
		}
		t.continueSupervisor() // the program may have been killed while it was stopped
		code := exitCode(ws)
		t.mu.Lock()
		grace := t.grace
		t.mu.Unlock()
		killTree(grace)
		t.c.send(childEvent{Exited: true, Status: code}, -1)
		// A program often ends because its supervisor was killed. Then watchSupervisor
		// still has to tell the coordinator.
		<-t.done
		return code
	}
}

// signal sends a signal to the program.
func (t *tree) signal(sig unix.Signal) {
	if t.pidfd >= 0 {
		unix.PidfdSendSignal(t.pidfd, sig, nil, 0)
		return
	}
	unix.Kill(t.pid, sig) // the host refuses pidfd_open(2)
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return exitSignal + int(ws.Signal())
	}
	return ws.ExitStatus()
}
