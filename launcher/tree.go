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

// terminateGrace is how long processes that outlive their program have between
// SIGTERM and SIGKILL.
var terminateGrace = 2 * time.Second

// killTree ends every descendant of this process, which reaps them, but for the children
// that are spared and what is below those. With a grace period they get SIGTERM first.
func killTree(grace *time.Duration, spared ...int) {
	sig := unix.SIGKILL
	var until time.Time
	if grace != nil {
		sig, until = unix.SIGTERM, time.Now().Add(*grace)
	}
	signalled := make(map[int]bool)
	none := 0 // how often in a row nobody was left but the spared
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
				unix.Kill(pid, unix.SIGCONT) // a stopped process would sleep on
				signalled[pid] = true
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reapAll collects the children that have ended. It returns false if there are
// no children any more.
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

// descendants returns the processes below pid, itself not among them, nor the children
// that are left out and what is below those.
func descendants(pid int, without ...int) []int {
	all := slices.DeleteFunc(children(pid),
		func(child int) bool { return slices.Contains(without, child) })
	for i := 0; i < len(all); i++ {
		all = append(all, children(all[i])...)
	}
	return all
}

// children returns the children of all threads of a process (proc(5), children). A thread
// that ends hands its children to the first thread of its process that goes on, which is
// asked last: so no child is missed while the main thread lives.
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
