package project

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A spawner starts processes that end with this one: they get SIGTERM when the thread
// that has started them ends (PR_SET_PDEATHSIG, prctl(2)), which is why one thread starts
// all of them and lives as long as the process does. It also waits for processes that
// others have left to this one, a subreaper.
type spawner struct {
	todo chan func()

	mu      sync.Mutex
	own     map[int]bool  // children that somebody waits for
	orphans int           // children that nobody else waits for
	reaped  chan struct{} // closed, and replaced, after each look for orphans
}

func newSpawner() *spawner {
	s := &spawner{todo: make(chan func()), own: make(map[int]bool),
		reaped: make(chan struct{})}
	go func() { // ends with the process
		runtime.LockOSThread()
		for f := range s.todo {
			f()
		}
	}()
	go s.reap() // as well
	return s
}

// start starts a command. When it has ended and was waited for, forget has to be called.
func (s *spawner) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGTERM
	cmd.SysProcAttr.Setpgid = true // a signal of a terminal is not for it
	done := make(chan error)
	s.todo <- func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		err := startVisible(cmd)
		if err == nil {
			s.own[cmd.Process.Pid] = true
		}
		done <- err
	}
	return <-done
}

// startVisible starts a command. For a user namespace, this process writes files of its
// child in /proc, which belong to root while the child is not dumpable (proc(5)). The
// child is as dumpable as this process is when it forks.
func startVisible(cmd *exec.Cmd) error {
	if cmd.SysProcAttr.Cloneflags&syscall.CLONE_NEWUSER == 0 {
		return cmd.Start()
	}
	was, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return os.NewSyscallError("prctl(PR_GET_DUMPABLE)", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_DUMPABLE)", err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(was), 0, 0, 0) }()
	return cmd.Start()
}

func (s *spawner) forget(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.own, pid)
}

// reap waits for orphans each time that a child ends.
func (s *spawner) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	for range ended {
		s.reapOrphans()
	}
}

func (s *spawner) reapOrphans() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = 0
	for _, pid := range children() {
		if s.own[pid] {
			continue
		}
		if got, _ := unix.Wait4(pid, nil, unix.WNOHANG, nil); got != pid {
			s.orphans++
		}
	}
	close(s.reaped)
	s.reaped = make(chan struct{})
}

// orphanTimeout bounds how long the end of an instance waits for its boxer-init.
const orphanTimeout = 5 * time.Second

// awaitOrphans waits until no orphans are left.
func (s *spawner) awaitOrphans() {
	timer := time.NewTimer(orphanTimeout)
	defer timer.Stop()
	s.reapOrphans()
	for {
		s.mu.Lock()
		left, reaped := s.orphans, s.reaped
		s.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-reaped:
		case <-timer.C:
			return
		}
	}
}

// children returns the children of this process.
func children() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
