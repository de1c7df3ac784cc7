package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/sandbox"
)

// commands are what boxer-init runs beside the program.
type commands struct {
	// Held also while a command is started, so that its end is known for what it is.
	mu    sync.Mutex
	byPID map[int]int // their numbers
}

// exec starts or signals a command. What goes wrong is told to the supervisor.
func (t *tree) exec(r execRequest, files []*os.File) {
	if len(r.Argv) == 0 {
		closeFiles(files)
		t.commands.signal(r.ID, unix.Signal(r.Signal))
		return
	}
	go func() { // a thread under a filter must not be this one
		defer closeFiles(files)
		t.commands.mu.Lock() // also so that its end is told after its start
		defer t.commands.mu.Unlock()
		pid, listener, err := t.startCommand(r, files)
		if err != nil {
			msg, code := explain(r.Argv[0], err)
			t.c.send(childEvent{Exec: &execEvent{ID: r.ID, Failed: msg, Code: code}}, -1)
			return
		}
		if t.commands.byPID == nil {
			t.commands.byPID = make(map[int]int)
		}
		t.commands.byPID[pid] = r.ID
		pass := -1
		if listener != nil {
			defer listener.Close()
			pass = int(listener.Fd())
		}
		t.c.send(childEvent{Exec: &execEvent{ID: r.ID, Started: pid}}, pass)
	}()
}

// startCommand starts a command as startProgram starts the program.
func (t *tree) startCommand(r execRequest, files []*os.File) (pid int, listener *os.File,
	err error) {
	if len(files) < 3 {
		return 0, nil, errors.New("its streams have not come along")
	}
	env, _ := programEnv(os.Environ(), os.Getppid(), t.started.Notify)
	attr := &syscall.ProcAttr{Dir: r.Dir, Env: append(env, r.Env...),
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: r.Terminal}}
	for _, f := range files[:3] {
		attr.Files = append(attr.Files, f.Fd())
	}
	path := ""
	if !t.started.Loader {
		path, err = exec.LookPath(r.Argv[0])
		if err != nil && !errors.Is(err, exec.ErrDot) {
			return 0, nil, err
		}
	} else if len(files) > 3 {
		// ForkExec's child uses the descriptors above those of attr.Files for itself,
		// before it executes the file: the file's must not be among them.
		above, err := unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC,
			int(files[3].Fd())+1)
		if err != nil {
			return 0, nil, os.NewSyscallError("fcntl", err)
		}
		defer unix.Close(above)
		attr.Files[0] = uintptr(above)
		path = fmt.Sprintf("/proc/self/fd/%d", files[3].Fd())
	}
	start := func() error {
		if err := t.started.Signals.block(); err != nil {
			return err
		}
		pid, err = syscall.ForkExec(path, r.Argv, attr)
		if errors.Is(err, syscall.ENOEXEC) { // as from execvp(3)
			pid, err = syscall.ForkExec("/bin/sh",
				append([]string{"/bin/sh", path}, r.Argv[1:]...), attr)
		}
		if err != nil {
			return &fs.PathError{Op: "exec", Path: path, Err: err}
		}
		return nil
	}
	listener, err = t.underFilter(r.ID, start)
	return pid, listener, err
}

// underFilter calls start on a thread that is under the program's filter, if it has one.
// listener is nil if there is none, or the supervisor has been given it.
func (t *tree) underFilter(id int, start func() error) (listener *os.File, err error) {
	if t.started.Loader {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends, and its signal mask
			done <- start()
		}()
		return nil, <-done
	}
	prog, err := sandbox.ParseProgram(t.started.Filter)
	if err != nil {
		return nil, err
	}
	if t.started.Served {
		return nil, sandbox.StartServed(prog, func(listener *os.File) error {
			defer listener.Close()
			return t.c.send(childEvent{Exec: &execEvent{ID: id}}, int(listener.Fd()))
		}, start)
	}
	return sandbox.StartFiltered(prog, start)
}

// signal sends a signal to the process group of a command.
func (all *commands) signal(id int, sig unix.Signal) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for pid, have := range all.byPID {
		if have == id { // it leads a session, and so a group
			unix.Kill(-pid, sig)
		}
	}
}

// commandEnded tells the supervisor that a command has ended, if the process was one.
func (t *tree) commandEnded(pid int, ws unix.WaitStatus) {
	if ws.Stopped() || ws.Continued() {
		return
	}
	t.commands.mu.Lock()
	id, ok := t.commands.byPID[pid]
	delete(t.commands.byPID, pid)
	t.commands.mu.Unlock()
	if ok {
		t.c.send(childEvent{Exec: &execEvent{ID: id, Exited: true, Code: exitCode(ws)}}, -1)
	}
}
