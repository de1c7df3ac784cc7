package launcher

import (
	"os"

	"golang.org/x/sys/unix"
)

// The shell watches the supervisor. The supervisor must therefore stop when its program
// is stopped, and it must run when the program runs. Only boxer-init sees both kinds of
// event (WUNTRACED and WCONTINUED, wait(2)), in their order. So boxer-init stops and
// continues the supervisor. If the supervisor stopped itself after a childEvent, a
// program that was continued meanwhile would get no answers to its calls.
//
// wait(2) reports the program's latest state, even if boxer-init itself was stopped when
// the state changed. boxer-init sends SIGSTOP only if the latest state that it has seen
// is stopped, and it sends SIGCONT after each continuation. So the last signal to the
// supervisor always matches the program's last state.

// openSupervisor returns a pidfd of the supervisor, which is this process's parent. It
// returns -1 if the supervisor has ended.
func openSupervisor() int {
	parent := os.Getppid()
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return -1
	}
	if os.Getppid() != parent { // the pid may belong to another process by now
		unix.Close(fd)
		return -1
	}
	return fd
}

// stopped tells the supervisor that a signal has stopped the program. The supervisor
// answers with an initCommand when it is prepared to be stopped.
func (t *tree) stopped() {
	if t.supervisor < 0 {
		return
	}
	t.mu.Lock()
	t.stops, t.runs = t.stops+1, false
	stop := t.stops
	t.mu.Unlock()
	t.c.send(childEvent{Stop: stop}, -1) // an error means that the supervisor is gone
}

// stopSupervisor stops the supervisor, unless the program has run again since that stop.
func (t *tree) stopSupervisor(stop uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if stop == t.stops && !t.runs {
		unix.PidfdSendSignal(t.supervisor, unix.SIGSTOP, nil, 0)
	}
}

// continueSupervisor continues the supervisor: the program runs again, or has ended.
func (t *tree) continueSupervisor() {
	if t.supervisor < 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs = true
	unix.PidfdSendSignal(t.supervisor, unix.SIGCONT, nil, 0)
}
