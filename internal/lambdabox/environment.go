package lambdabox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The times of the service, from its documents: how long an environment may take to
// start, and to end after SIGTERM when its extensions are internal.
const (
	initLimit     = 10 * time.Second
	shutdownLimit = 500 * time.Millisecond
)

// runtimeAPI is where the Runtime API listens, in each environment.
const runtimeAPI = "127.0.0.1:9001"

// firstUser is the user of the first environment; the limit of processes is one for each
// user, and all environments are on one kernel.
const (
	firstUser = 993
	group     = 990
)

// An environment is an execution environment of a function.
type environment struct {
	box        *Box
	f          *function
	machine    Machine
	number     int
	generation int // of the function's code
	dir        string
	busy       bool // guarded by Box.mu

	cmd    *exec.Cmd
	server *http.Server

	invocations chan *invocation
	idle        chan struct{} // gets a value at each request for the next invocation
	gone        chan struct{} // closed when the processes have ended

	mu       sync.Mutex
	current  *invocation
	extended bool // an extension is registered
	killed   error
}

// prepare is the script that makes the environment's file system: read-only but for /tmp.
// $1 is the environment's directory, which has the function's code and the jail.
const prepare = `set -e
mount --make-rprivate /
mount --bind "$1" /mnt
mount --bind "$1/passwd" /etc/passwd
[ ! -d "$1/opt" ] || mount --bind -o ro "$1/opt" /opt
mount -t tmpfs -o mode=1777,size=512m tmpfs /tmp
mount -t proc proc /proc
mount -o remount,bind,ro /mnt
mount -o remount,bind,ro /
cd /mnt/task
exec /mnt/jail -uid "$2" -gid "$3" -- "$4"`

// start starts the environment's processes.
func (e *environment) start() error {
	if err := e.unpack(); err != nil {
		return err
	}
	l, err := e.machine.Listen(e.box.ctx, "tcp", runtimeAPI)
	if err != nil {
		return err
	}
	// PID 1 of its own PID namespace: all processes of the environment end with it.
	e.cmd = e.machine.Command(e.box.ctx, "unshare", "--mount", "--pid", "--fork",
		"sh", "-c", prepare, "sh", e.dir, strconv.Itoa(e.user()),
		strconv.Itoa(group), e.bootstrap())
	// In its own session, too: the kernel sends SIGHUP to a process group with stopped
	// members when one of its parents ends (setpgid(2)).
	e.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	e.cmd.Env = e.environ()
	e.cmd.Stdout, e.cmd.Stderr = e.box.cfg.Log, e.box.cfg.Log
	if err := e.cmd.Start(); err != nil {
		return errors.Join(err, l.Close())
	}
	e.server = &http.Server{Handler: e.handler()}
	e.box.all.Go(func() { _ = e.server.Serve(l) })
	e.box.all.Go(e.wait)
	return nil
}

// unpack writes the function's code and the jail into the environment's directory.
func (e *environment) unpack() error {
	task := filepath.Join(e.dir, "task")
	if err := os.MkdirAll(task, 0o755); err != nil {
		return err
	}
	if err := extract(e.f.archive(), task); err != nil {
		return err
	}
	if err := e.unpackRuntime(); err != nil {
		return err
	}
	jail, err := os.ReadFile(e.box.cfg.Jail)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(e.dir, "jail"), jail, 0o755); err != nil {
		return err
	}
	// The user has a name, as in the service, and no home directory.
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	passwd = fmt.Appendf(passwd, "sbx_user%d:x:%d:%d::/home/sbx_user%[1]d:/sbin/nologin\n",
		1050+e.number, e.user(), group)
	return os.WriteFile(filepath.Join(e.dir, "passwd"), passwd, 0o644)
}

// unpackRuntime writes the function's managed runtime, if it has one, and its layers into
// the environment's directory.
func (e *environment) unpackRuntime() error {
	c := e.f.configuration()
	if dir := e.box.cfg.Runtimes[c.Runtime]; dir != "" {
		if err := os.CopyFS(filepath.Join(e.dir, "runtime"), os.DirFS(dir)); err != nil {
			return err
		}
	}
	for _, l := range c.Layers {
		e.box.mu.Lock()
		archive, ok := e.box.layers[l.Arn]
		e.box.mu.Unlock()
		if !ok {
			return fmt.Errorf("layer %s: there is no such version", l.Arn)
		}
		opt := filepath.Join(e.dir, "opt")
		if err := os.MkdirAll(opt, 0o755); err != nil {
			return err
		}
		if err := extract(archive, opt); err != nil {
			return err
		}
	}
	return nil
}

// bootstrap is what the environment runs.
func (e *environment) bootstrap() string {
	if e.box.cfg.Runtimes[e.f.configuration().Runtime] != "" {
		return "/mnt/runtime/bootstrap"
	}
	return "./bootstrap"
}

// user returns the number of the user that the environment's programs run as.
func (e *environment) user() int { return firstUser + e.number - 1 }

// environ returns the variables that the service gives a function, and the function's.
func (e *environment) environ() []string {
	c := e.f.configuration()
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin", "LANG=en_US.UTF-8", "TZ=:UTC",
		"_HANDLER=" + c.Handler, "AWS_LAMBDA_RUNTIME_API=" + runtimeAPI,
		"AWS_LAMBDA_FUNCTION_NAME=" + e.f.name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(c.MemorySize),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + e.f.name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + e.name(),
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=box", "AWS_SECRET_ACCESS_KEY=box",
		"LAMBDA_TASK_ROOT=/mnt/task", "LAMBDA_RUNTIME_DIR=/var/runtime",
	}
	for name, value := range c.Environment.Variables {
		env = append(env, name+"="+value)
	}
	return env
}

// name returns the name of the environment's log stream.
func (e *environment) name() string { return fmt.Sprintf("2026/11/28/[$LATEST]%032x", e.number) }

// wait waits until the processes have ended.
func (e *environment) wait() {
	err := e.cmd.Wait()
	e.box.remove(e)
	e.mu.Lock()
	cause := e.killed
	if cause == nil {
		cause = &functionError{"Runtime.ExitError",
			fmt.Sprintf("Runtime exited: %v", err)}
	}
	current := e.current
	e.mu.Unlock()
	close(e.gone)
	if current != nil {
		current.fail(cause)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.server.Shutdown(ctx)
	_ = e.server.Close()
}

// kill kills all processes at once.
func (e *environment) kill(why error) {
	e.mu.Lock()
	if e.killed == nil {
		e.killed = why
	}
	e.mu.Unlock()
	// All other processes end with PID 1 of the namespace, and then unshare ends. The
	// child loses its signal at the parent's death when it changes its user (prctl(2)).
	for _, pid := range e.processes() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// shutdown ends the environment as the service does.
func (e *environment) shutdown() {
	e.mu.Lock()
	extended := e.extended
	e.mu.Unlock()
	e.signal(unix.SIGCONT)
	if extended {
		e.signal(unix.SIGTERM)
		select {
		case <-e.gone:
			return
		case <-time.After(shutdownLimit):
		}
	}
	e.kill(errors.New("the environment was shut down"))
	<-e.gone
}

// serve gives the environment an invocation, which ends by itself, by the function's time
// limit, or with the environment.
func (e *environment) serve(inv *invocation) {
	e.signal(unix.SIGCONT)
	limit := time.Duration(e.f.configuration().Timeout) * time.Second
	select {
	case e.invocations <- inv:
	case <-e.gone:
		inv.fail(&functionError{"Runtime.ExitError",
			"the runtime exited before it took an invocation"})
		return
	case <-time.After(initLimit):
		err := &functionError{"Sandbox.Timedout", "the environment did not start in time"}
		inv.fail(err)
		e.kill(err)
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-e.idle: // it asks for the next
		e.mu.Lock()
		e.current = nil
		e.mu.Unlock()
		inv.fail(&functionError{"Runtime.NoResponse", "the runtime gave no response"})
		e.signal(unix.SIGSTOP)
		e.box.release(e)
	case <-e.gone:
	case <-timer.C:
		err := &functionError{"Sandbox.Timedout",
			fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds",
				inv.id, limit.Seconds())}
		inv.fail(err)
		e.kill(err)
	}
}

// signal sends a signal to the environment's processes: SIGSTOP freezes them, and SIGTERM
// goes to the runtime alone.
func (e *environment) signal(s unix.Signal) {
	pids := e.processes()
	if s == unix.SIGTERM {
		pids = pids[:min(1, len(pids))]
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, s)
	}
}

// processes returns the processes of the environment's PID namespace, its first one
// first.
func (e *environment) processes() []int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", e.cmd.Process.Pid))
	if err != nil {
		return nil
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		return nil
	}
	namespace := func(pid int) string {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		return link
	}
	own := namespace(first)
	if own == "" || own == namespace(os.Getpid()) {
		return []int{e.cmd.Process.Pid} // it has not begun
	}
	pids := []int{first}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && pid != first &&
			namespace(pid) == own {
			pids = append(pids, pid)
		}
	}
	return pids
}
