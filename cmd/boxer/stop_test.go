package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stateOf returns the state of a process as proc_pid_stat(5) has it.
func stateOf(t *testing.T, pid int) string {
	t.Helper()
	stat := read(t, pid, "stat")
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])[0]
}

// reaches waits until a process is in the state, or in another one for not.
func reaches(t *testing.T, pid int, not bool, state string) {
	t.Helper()
	for deadline := time.Now().Add(patience); (stateOf(t, pid) == state) == not; {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is in state %s", pid, stateOf(t, pid))
		}
		time.Sleep(time.Millisecond)
	}
}

// TestStopAndContinue stops and continues the processes of a node by signals, in all
// orders, as kill(1), cpulimit(1) and chaos tests do. Whenever the program runs, its
// calls are answered: the supervisor must run, too.
func TestStopAndContinue(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(boxer, "run", "--", "python3", "-c", talker)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	if got := p.line(); got != "ready" {
		t.Fatalf("the program says %q", got)
	}
	supervisor := cmd.Process.Pid
	init, program := initOf(t, supervisor), programOf(t, supervisor)
	talks := func(t *testing.T) {
		t.Helper()
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		if got := p.line(); got != "talked" {
			t.Fatalf("the program says %q", got)
		}
		reaches(t, supervisor, true, "T")
	}
	kill := func(sig unix.Signal, pids []int) {
		for _, pid := range pids {
			if err := unix.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name  string
		stops []int
		conts []int
	}{
		{"the program", []int{program}, []int{program}},
		{"boxer by its program", []int{program}, []int{supervisor}},
		{"supervisor first", []int{supervisor, init, program},
			[]int{supervisor, init, program}},
		{"program first", []int{program, init, supervisor},
			[]int{program, init, supervisor}},
		{"boxer-init first", []int{init, program, supervisor},
			[]int{init, program, supervisor}},
		{"program before supervisor", []int{program, supervisor, init},
			[]int{program, supervisor, init}},
		{"up again", []int{supervisor, init, program}, []int{program, init, supervisor}},
		{"only what was stopped", []int{init, program}, []int{program, init}},
		{"the supervisor is forgotten", []int{supervisor, init, program},
			[]int{program, init}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 5 {
				kill(unix.SIGSTOP, tc.stops)
				reaches(t, program, false, "T")
				if len(tc.stops) == 1 {
					reaches(t, supervisor, false, "T")
				}
				kill(unix.SIGCONT, tc.conts)
				talks(t)
			}
			if len(tc.conts) < len(tc.stops) || !slices.Contains(tc.conts, program) {
				// so fast, the program would not be seen stopped, and nobody be continued
				return
			}
			for range 100 { // faster than the reports of it
				kill(unix.SIGSTOP, tc.stops)
				kill(unix.SIGCONT, tc.conts)
			}
			talks(t)
		})
	}
	in.Close()
	if status := wait(t, cmd); status != 0 {
		t.Errorf("the program ended with %d", status)
	}
}

// TestKilledWhileStopped kills a stopped program: boxer ends with its status.
func TestKilledWhileStopped(t *testing.T) {
	t.Parallel()
	p := start(t, boxed("sh", "-c", "echo ready; exec sleep 1000"))
	p.line()
	program := programOf(t, p.cmd.Process.Pid)
	if err := unix.Kill(program, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	reaches(t, p.cmd.Process.Pid, false, "T")
	if err := unix.Kill(program, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := wait(t, p.cmd); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d, want 137", status)
	}
}
