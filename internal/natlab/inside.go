package natlab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/tempdir"
)

// Values of argv[0], which tell the process its stage.
const (
	// process 1 of the new namespaces: see initMain
	argInit = "natlab-init"
	// a process that enters a host's namespaces: see Host.Command
	argEnter = "natlab-enter"
)

// insideEnv holds the PID namespace that Inside made. A process is inside if it is still
// in that namespace. So a test binary that a test starts again, such as a worker of the
// fuzzer, makes no new namespaces.
const insideEnv = "BOXER_NATLAB"

// unavailable is the reason why this process could not make its namespaces. ForTest
// reports it.
var unavailable error

// Main runs a package's tests in namespaces of their own and exits with their status. If
// the kernel refuses the namespaces, the tests still run, and ForTest skips those that
// need a lab.
//
//	func TestMain(m *testing.M) { natlab.Main(m) }
func Main(m interface{ Run() int }) {
	status, err := Inside(m.Run)
	if err != nil {
		unavailable = err
		status = m.Run()
	}
	os.Exit(status)
}

// Inside runs main in new mount, network, pid, UTS and IPC namespaces, and returns what
// main returned. It starts the program again, with the same arguments, environment, files
// and directory. So call it first, and only once.
//
// In the namespaces, /run and /dev/shm
// are empty and private, TMPDIR is a directory that Inside removes at the end, and lo is
// the only interface. Process 1 reaps processes whose parent has ended. When main
// returns, panics or is killed, or when the process that called Inside is killed, the
// kernel kills all remaining processes in the namespaces. Inside passes SIGINT, SIGTERM,
// SIGHUP and SIGQUIT on.
//
// If the caller is root, all users stay available. Any other user
// becomes root in a user namespace with one user: see NeedUsers.
//
// The error says why the
// namespaces could not be made. main has not run in that case.
func Inside(main func() int) (status int, err error) {
	switch {
	case os.Args[0] == argEnter:
		fmt.Fprintln(os.Stderr, "natlab:", enter(os.Args[1:]))
		os.Exit(127)
	case os.Args[0] == argInit:
		os.Exit(initMain())
	case inside():
		findTools()
		return main(), nil
	}
	findTools()
	return outside()
}

// findTools adds the directories of system administration to PATH. The lab's tools are
// there, and Debian has these directories only in root's PATH.
func findTools() {
	path := filepath.SplitList(os.Getenv("PATH"))
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(path, dir) {
			path = append(path, dir)
		}
	}
	os.Setenv("PATH", strings.Join(path, string(filepath.ListSeparator)))
}

// inside reports whether this process is in namespaces that Inside made.
func inside() bool {
	id, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && os.Getenv(insideEnv) == id
}

// outside starts the program again as process 1 of new namespaces, and waits for its end.
func outside() (status int, err error) {
	// The kernel sends the death signal below when the thread that forked ends. So that
	// thread must not end before this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	tmp, err := temporary()
	if err != nil {
		return 0, err
	}
	defer tmp.Remove()
	ready, report, err := os.Pipe() // init writes here why it cannot start
	if err != nil {
		return 0, fmt.Errorf("natlab: %w", err)
	}
	defer ready.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{argInit}, os.Args...),
		Env:   append(os.Environ(), "TMPDIR="+tmp.Path),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{report},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			Pdeathsig:  unix.SIGKILL,
		},
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0,
			HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0,
			HostID: os.Getegid(), Size: 1}}
	}
	err = cmd.Start()
	report.Close()
	if err != nil {
		return 0, fmt.Errorf("natlab: new namespaces: %w", err)
	}
	stop := forwardSignals(cmd.Process)
	defer stop()

	reason, readErr := io.ReadAll(ready)
	waitErr := cmd.Wait()
	if len(reason) > 0 {
		return 0, fmt.Errorf("natlab: new namespaces: %s", reason)
	}
	if readErr != nil {
		return 0, fmt.Errorf("natlab: new namespaces: %w", readErr)
	}
	var exit *exec.ExitError
	if errors.As(waitErr, &exit) || waitErr == nil {
		return exitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
	}
	return 0, fmt.Errorf("natlab: %w", waitErr)
}

// temporary makes a directory for the files of the program and of those that it starts.
// Its name is short, because the paths of Unix sockets in it must be short. If this
// process is killed, the next one removes the directory.
func temporary() (*tempdir.Dir, error) {
	dir, err := tempdir.Make("nl")
	if err != nil {
		return nil, fmt.Errorf("natlab: %w", err)
	}
	if err := os.Chmod(dir.Path, 0o777|os.ModeSticky); err != nil { // as /tmp
		return nil, fmt.Errorf("natlab: %w", errors.Join(err, dir.Remove()))
	}
	return dir, nil
}

// runtimeDir makes the runtime directory that a login creates for a user's sockets. It
// ends with the namespaces, because /run is private.
func runtimeDir(uid, gid int) error {
	if err := os.Mkdir("/run/user", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	dir := fmt.Sprintf("/run/user/%d", uid)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chown(dir, uid, gid)
}

// forwardSignals passes the signals that ask a process to end on to p, until stop is
// called.
func forwardSignals(p *os.Process) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			_ = p.Signal(s) // it may have ended meanwhile
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// initMain is process 1. It sets the namespaces up, starts the program in them, reaps
// every process, and ends with the program's status. The kernel then kills the remaining
// processes.
func initMain() int {
	report := os.NewFile(3, "report")
	unix.CloseOnExec(3)
	p, err := start()
	if err != nil {
		fmt.Fprint(report, err)
		return 1
	}
	report.Close()
	stop := forwardSignals(p)
	defer stop()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "natlab: wait:", err)
			return 1
		case pid == p.Pid:
			if ws.Signaled() {
				fmt.Fprintln(os.Stderr, "natlab: the program died of a signal:",
					ws.Signal())
			}
			return exitStatus(syscall.WaitStatus(ws))
		}
	}
}

// start sets up the namespaces of process 1 and starts the program in them.
func start() (*os.Process, error) {
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		// mounts from here on are not visible outside
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := errors.Join(loopbackUp(), runtimeDir(0, 0)); err != nil {
		return nil, err
	}
	id, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	if err := os.Setenv(insideEnv, id); err != nil {
		return nil, err
	}
	return os.StartProcess("/proc/self/exe", os.Args[1:], &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
}

// exitStatus returns the status that a shell would report for ws.
func exitStatus(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
