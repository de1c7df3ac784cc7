package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// terminateGrace is the time between SIGTERM and SIGKILL for processes that outlive their
// program.
var terminateGrace = 2 * time.Second

// killTree kills all descendants of this process and reaps them. It spares the given
// children and their descendants. With a grace period, processes first get SIGTERM.
func killTree(grace *time.Duration, spared ...int) {
	sig := unix.SIGKILL
	var until time.Time
	if grace != nil {
		sig, until = unix.SIGTERM, time.Now().Add(*grace)
	}
	signalled := make(map[int]bool)
	none := 0 // how often in a row only spared processes were left
	for {
		if !reapAll() || none == 2 {
			return
		}
		if sig == unix.SIGTERM && time.Now().After(until) {
			sig = unix.SIGKILL
			clear(signalled)
		}
		rest := descendants(os.Getpid(), spared...)
		if none++; len(rest) > 0 || len(spared) == 0 {
			none = 0
		}
		for _, pid := range rest {
			if !signalled[pid] {
				unix.Kill(pid, sig)
				unix.Kill(pid, unix.SIGCONT) // a stopped process does not handle SIGTERM
				signalled[pid] = true
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reapAll reaps the children that have ended. It returns false if no children are left.
func reapAll() bool {
	for {
		switch pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false
		case pid == 0:
			return true
		}
	}
}

// descendants returns all descendants of a process, except for the given children and
// what descends from those.
func descendants(pid int, without ...int) []int {
	all := slices.DeleteFunc(children(pid),
		func(child int) bool { return slices.Contains(without, child) })
	for i := 0; i < len(all); i++ {
		all = append(all, children(all[i])...)
	}
	return all
}

// children returns the children of all threads of a process (proc(5), children). When a
// thread ends, its children become those of the first thread of its process that still
// runs. That thread is read last, so that no child is missed while the main thread runs.
func children(pid int) []int {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil // the process has ended
	}
	defer dir.Close()
	tids, _ := dir.Readdirnames(-1) // in the kernel's order: the first thread is first
	var pids []int
	for _, tid := range slices.Backward(tids) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, tid))
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range bytes.Fields(b) {
			n, err := strconv.Atoi(string(field))
			if err == nil && !slices.Contains(pids, n) {
				pids = append(pids, n)
			}
		}
	}
	return pids
}
