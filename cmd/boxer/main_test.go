package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// patience bounds what should happen soon, on a machine that is busy with other things.
const patience = 30 * time.Second

// What the tests share: the binary under test, a directory, and the coordinator of a
// network.
var (
	boxer    string
	shared   string
	joinFile string
	joinText string // the join URL
)

func TestMain(m *testing.M) { natlab.Main(tests{m}) }

type tests struct{ *testing.M }

func (m tests) Run() int {
	status, err := m.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cmd/boxer:", err)
		return 1
	}
	return status
}

func (m tests) run() (int, error) {
	// Programs inherit ignored signals, such as nohup(1)'s; those that are caught
	// here are back to their defaults in what the tests start.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	flag.Parse()
	// the tests wait, most of the time
	if err := flag.Set("test.parallel", "8"); err != nil {
		return 0, err
	}
	var err error
	// short, as names of Unix sockets have to be
	if shared, err = os.MkdirTemp("", "bx"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(shared)
	for _, dir := range []string{"run", "state"} {
		if err := os.Mkdir(filepath.Join(shared, dir), 0o700); err != nil {
			return 0, err
		}
	}
	os.Setenv("XDG_RUNTIME_DIR", filepath.Join(shared, "run"))
	os.Setenv("XDG_STATE_HOME", filepath.Join(shared, "state"))
	boxer = filepath.Join(shared, "boxer")
	build := exec.Command("../../scripts/go", "build", "-tags", "netgo,osusergo",
		"-buildvcs=false",
		"-ldflags", "-linkmode external -extldflags -static", "-o", boxer, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	joinFile = filepath.Join(shared, "join")
	coordinator := exec.Command(boxer, "coordinator", "--listen", "127.0.0.1:0",
		"--state", filepath.Join(shared, "key"), "--join-file", joinFile)
	coordinator.Stderr = os.Stderr
	out, err := coordinator.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := coordinator.Start(); err != nil {
		return 0, err
	}
	defer func() {
		coordinator.Process.Kill()
		coordinator.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("coordinator: %w", err)
	}
	joinText = strings.TrimSpace(line)
	os.Setenv("BOXER_JOIN", "@"+joinFile)
	status := m.M.Run()
	return status, leftBehind(coordinator.Process.Pid)
}

// leftBehind fails if processes of the tests are there other than this one and the
// coordinator; and if a test has started the user's implicit coordinator, which would
// stay for a while.
func leftBehind(coordinator int) error {
	var errs []error
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range processes {
		pid := filepath.Base(dir)
		environ, err := os.ReadFile(dir + "/environ")
		if err != nil || !bytes.Contains(environ, []byte("XDG_RUNTIME_DIR="+shared)) ||
			pid == fmt.Sprint(coordinator) {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		errs = append(errs, fmt.Errorf("process %s is left: %q", pid, cmdline))
	}
	entries, err := filepath.Glob(filepath.Join(shared, "run", "*", "coordinator-*"))
	if len(entries) > 0 {
		err = fmt.Errorf("the implicit coordinator was started: %v", entries)
	}
	return errors.Join(append(errs, err)...)
}

// boxed is the command that runs a program under boxer.
func boxed(argv ...string) *exec.Cmd {
	return exec.Command(boxer, append([]string{"run", "--"}, argv...)...)
}

// bare is the command that runs it without.
func bare(argv ...string) *exec.Cmd { return exec.Command(argv[0], argv[1:]...) }

// A result is what came of a command that has ended.
type result struct {
	status   int // as a shell has it
	out, err string
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &errs
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := wait(t, cmd)
	return result{waited, out.String(), errs.String()}
}

// wait waits for a command's end and returns its status.
func wait(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	cmd.WaitDelay = patience
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%s: still there after %v", strings.Join(cmd.Args, " "), patience)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// A process is a command that runs, and whose lines can be waited for.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Reader
	out   *os.File
}

// start starts a command. It is killed when the test ends, if it is there then.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		r.Close()
	})
	return &process{t, cmd, bufio.NewReader(r), r}
}

// line returns the next line of standard output.
func (p *process) line() string {
	p.t.Helper()
	p.out.SetReadDeadline(time.Now().Add(patience))
	text, err := p.lines.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s: %q, %v", strings.Join(p.cmd.Args, " "), text, err)
	}
	return strings.TrimSuffix(text, "\n")
}

// rest returns what is left of standard output when everybody has closed it.
func (p *process) rest() string {
	p.t.Helper()
	p.out.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(p.lines)
	if err != nil {
		p.t.Fatalf("%s: %v", strings.Join(p.cmd.Args, " "), err)
	}
	return string(b)
}

func (p *process) signal(s unix.Signal) {
	p.t.Helper()
	if err := unix.Kill(p.cmd.Process.Pid, s); err != nil {
		p.t.Fatal(err)
	}
}

// gone waits until a process has ended, for at most limit.
func gone(t *testing.T, pid int, limit time.Duration) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(limit)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}},
			max(0, int(left.Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		case n > 0:
			return
		default:
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d (%s) is there after %v", pid,
				bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}), limit)
			return
		}
	}
}
