package launcher

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestProcessesAreLeft ends a trace while a process still runs: nothing of the trace
// stays behind.
func TestProcessesAreLeft(t *testing.T) {
	p := &process{pidfd: -1}
	p.thread.PID = os.Getpid()
	r := &recorder{procs: map[int]*process{p.thread.PID: p}}
	r.lookAtProcesses(false)
	fd := p.pidfd
	if fd < 0 {
		t.Skip("no pidfd_open(2)")
	}
	r.lookAtProcesses(true)
	if to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil &&
		strings.Contains(to, "pidfd") {
		t.Errorf("descriptor %d is still open: %s", fd, to)
	}
	if len(r.procs) > 0 || len(r.queue) > 0 {
		t.Errorf("%d processes are left, and %d events told", len(r.procs), len(r.queue))
	}
}
