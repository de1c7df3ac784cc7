package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignalsOnce sends signals to boxer. The program gets each of them once.
func TestSignalsOnce(t *testing.T) {
	t.Parallel()
	p := start(t, boxed("sh", "-c", `trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo winch' WINCH
		trap 'echo term; exit 3' TERM; echo ready; sleep 1000 & while :; do wait; done`))
	got := []string{p.line()}
	for _, s := range []unix.Signal{unix.SIGUSR1, unix.SIGHUP, unix.SIGWINCH,
		unix.SIGUSR1} {
		p.signal(s)
		got = append(got, p.line())
	}
	p.signal(unix.SIGTERM)
	got = append(got, strings.Fields(p.rest())...)
	if want := []string{"ready", "usr1", "hup", "winch", "usr1",
		"term"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if status := wait(t, p.cmd); status != 3 {
		t.Errorf("status %d, want 3", status)
	}
}

// TestSignalEnds ends a program that does not handle the signal.
func TestSignalEnds(t *testing.T) {
	t.Parallel()
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR2,
		unix.SIGALRM} {
		p := start(t, boxed("sh", "-c", "echo ready; exec sleep 1000"))
		p.line()
		p.signal(s)
		if status := wait(t, p.cmd); status != 128+int(s) {
			t.Errorf("%v: status %d, want %d", s, status, 128+int(s))
		}
	}
}

// TestSignalEarly ends boxer while it waits for other nodes.
func TestSignalEarly(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(boxer, "run", "--name", "early", "--wait-for", "never", "--", "true")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	p := start(t, cmd)
	// It has joined when others see it.
	if r := finish(t, exec.Command(boxer, "run", "--wait-for", "early", "--",
		"true")); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	p.signal(unix.SIGTERM)
	if status := wait(t, cmd); status != 128+int(unix.SIGTERM) ||
		!strings.HasPrefix(errs.String(), "boxer: ") {
		t.Errorf("status %d, stderr %q", status, &errs)
	}
}

// TestOrphans leaves processes without their parents: boxer-init reaps them while the
// program runs.
func TestOrphans(t *testing.T) {
	t.Parallel()
	r := finish(t, boxed("sh", "-c", `for i in 1 2 3; do
			pid=$(sh -c 'sh -c "exit 7" >/dev/null & echo $!')
			while test -e /proc/$pid; do :; done
		done; echo reaped`))
	if r.status != 0 || r.out != "reaped\n" {
		t.Errorf("%+v", r)
	}
}

// TestDaemonEnds leaves a daemon behind. It is ended, politely first.
func TestDaemonEnds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, script, says string }{
		{"polite", `setsid sh -c 'trap "echo asked; exit" TERM; echo $$; sleep 1000 & wait' & read x; exit 5`, "asked"},
		{"stubborn", `setsid sh -c 'trap "" TERM HUP; echo $$; exec sleep 1000' & read x; exit 5`, ""},
		{"stopped", `setsid sh -c 'echo $$; kill -STOP $$; sleep 1000' & read x; exit 5`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cmd := boxed("sh", "-c", tc.script)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			p := start(t, cmd)
			daemon := p.pid()
			in.Close() // read x ends
			if got := strings.TrimSpace(p.rest()); got != tc.says {
				t.Errorf("the daemon says %q, want %q", got, tc.says)
			}
			if status := wait(t, cmd); status != 5 {
				t.Errorf("status %d, want 5", status)
			}
			gone(t, daemon, 0)
		})
	}
}

// pid reads a process's number from the next line.
func (p *process) pid() int {
	p.t.Helper()
	pid, err := strconv.Atoi(p.line())
	if err != nil {
		p.t.Fatal(err)
	}
	return pid
}

// family starts a program with a child and a grandchild that has a session of its own,
// and returns the pids of all. The supervisor leads a process group, as a shell's jobs
// do.
func family(t *testing.T) (p *process, pids []int) {
	t.Helper()
	cmd := boxed("sh", "-c", `setsid sh -c 'sh -c "echo \$\$; exec sleep 1000" & echo $$; exec sleep 1000' & echo $$; exec sleep 1000`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p = start(t, cmd)
	for range 3 {
		pids = append(pids, p.pid())
	}
	return p, pids
}

// TestSupervisorKilled kills the supervisor: nothing of the tree survives.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	p, pids := family(t)
	init := initOf(t, p.cmd.Process.Pid)
	p.signal(unix.SIGKILL)
	for _, pid := range append(pids, init) {
		gone(t, pid, 2*time.Second)
	}
	if status := wait(t, p.cmd); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d", status)
	}
}

// TestGroupKilled kills the supervisor's process group at once, as a shell's kill %1 and
// many service managers do. The program is in it. boxer-init is not, and ends what the
// signal has not reached.
func TestGroupKilled(t *testing.T) {
	t.Parallel()
	p, pids := family(t)
	init, program := initOf(t, p.cmd.Process.Pid), programOf(t, p.cmd.Process.Pid)
	if group, err := unix.Getpgid(program); err != nil || group != p.cmd.Process.Pid {
		t.Errorf("the program is in process group %d, %v; want the supervisor's, %d",
			group, err, p.cmd.Process.Pid)
	}
	if err := unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(pids, init) {
		gone(t, pid, 2*time.Second)
	}
	if status := wait(t, p.cmd); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d", status)
	}
}

// TestInitKilled kills boxer-init: nothing of the tree survives, and boxer tells.
func TestInitKilled(t *testing.T) {
	t.Parallel()
	p, pids := family(t)
	if err := unix.Kill(initOf(t, p.cmd.Process.Pid), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		gone(t, pid, 2*time.Second)
	}
	if status := wait(t, p.cmd); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d, want 137", status)
	}
}

// TestProgramKilled kills the program: boxer's exit code tells.
func TestProgramKilled(t *testing.T) {
	t.Parallel()
	p, pids := family(t)
	program := programOf(t, p.cmd.Process.Pid)
	if err := unix.Kill(program, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := wait(t, p.cmd); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d, want 137", status)
	}
	for _, pid := range pids {
		gone(t, pid, 0)
	}
}

func initOf(t *testing.T, boxer int) int {
	t.Helper()
	for _, pid := range childrenOf(t, boxer) {
		if strings.HasPrefix(read(t, pid, "cmdline"), "boxer-init\x00") {
			return pid
		}
	}
	t.Fatal("there is no boxer-init")
	return 0
}

func programOf(t *testing.T, boxer int) int {
	t.Helper()
	return childrenOf(t, initOf(t, boxer))[0]
}

// childrenOf returns the children of all threads of a process (proc(5)). A thread that
// ends hands its children to the first thread of its process, as the thread does from
// which boxer-init starts the program. So childrenOf asks the first thread last.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	tids, err := dir.Readdirnames(-1) // in the kernel's order, which is by age
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, tid := range slices.Backward(tids) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, tid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for field := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(pids, child) {
				pids = append(pids, child)
			}
		}
	}
	if len(pids) == 0 {
		t.Fatalf("process %d has no children", pid)
	}
	return pids
}

func read(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
