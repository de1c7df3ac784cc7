package natlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout bounds how long a killed process may take to end.
const killTimeout = 10 * time.Second

// killAll kills the processes in the namespaces and waits until they have ended. Their
// parents still reap them.
func killAll(namespaces []*namespace) error {
	ours := make(map[uint64]bool) // inodes of the network namespaces
	for _, ns := range namespaces {
		var st unix.Stat_t
		if err := unix.Fstat(int(ns.net.Fd()), &st); err != nil {
			return fmt.Errorf("natlab: namespace of %s: %w", ns.name, err)
		}
		ours[st.Ino] = true
	}
	for {
		// Repeat until no process is found, because one may have forked meanwhile.
		found, err := members(ours)
		if err != nil || len(found) == 0 {
			return err
		}
		for _, pidfd := range found {
			err = errors.Join(err, killOne(pidfd))
		}
		if err != nil {
			return err
		}
	}
}

// members returns a pidfd for each process whose network namespace is one of inodes.
func members(inodes map[uint64]bool) (pidfds []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		// Check the namespace after the pidfd is open, so that the PID still belongs to
		// that process. A zombie has no namespace.
		var st unix.Stat_t
		if unix.Stat(dir+"/ns/net", &st) == nil && inodes[st.Ino] {
			pidfds = append(pidfds, pidfd)
		} else {
			unix.Close(pidfd)
		}
	}
	return pidfds, nil
}

// killOne kills a process, waits for its end and closes the pidfd.
func killOne(pidfd int) error {
	defer unix.Close(pidfd)
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil &&
		!errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	deadline := time.Now().Add(killTimeout)
	for {
		// a readable pidfd means that the process has ended (pidfd_open(2))
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("natlab: a killed process has not ended after %v",
				killTimeout)
		default:
			return nil
		}
	}
}
