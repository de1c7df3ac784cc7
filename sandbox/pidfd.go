package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// maxPidfds bounds the cache, in descriptors: a sixteenth of the process's limit
// (RLIMIT_NOFILE), but at most mostPidfds.
var maxPidfds = sync.OnceValue(func() int {
	const mostPidfds = 64
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return mostPidfds
	}
	return int(min(limit.Cur/16+1, mostPidfds))
})

// A Caller is a thread in a trapped call.
type Caller interface {
	TID() int // in this process's PID namespace
	// whether the call still waits, so that no other thread can have the TID
	Pending() bool
}

// An FDCopier copies descriptors of calling threads. The zero value is ready for use.
//
// It
// caches the pidfds of threads that have called before. A pidfd always refers to the same
// thread. When the kernel gives the same TID to a new thread, pidfd_getfd(2) on the old
// pidfd fails with ESRCH, and the copier replaces the pidfd. This holds only for
// PIDFD_THREAD: a pidfd of a whole process stays valid while any of its threads lives. So
// the copier caches nothing on kernels without PIDFD_THREAD.
type FDCopier struct {
	mu       sync.Mutex
	byTID    map[int]int
	noThread bool // the kernel has no PIDFD_THREAD
}

// Copy returns a copy of descriptor fd of a thread: it shares the open file description.
// It fails with EBADF if there is no such descriptor, and with ErrGone if the call has
// ended.
func (p *FDCopier) Copy(n Caller, fd int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tid := n.TID()
	if pidfd, ok := p.byTID[tid]; ok {
		got, err := linux.PidfdGetfd(pidfd, fd)
		if !errors.Is(err, unix.ESRCH) {
			return got, err
		}
		unix.Close(pidfd)
		delete(p.byTID, tid)
	}
	pidfd, err := p.openLocked(tid)
	if err != nil {
		return -1, err
	}
	if !n.Pending() { // the kernel may have given the TID to another thread
		unix.Close(pidfd)
		return -1, ErrGone
	}
	got, err := linux.PidfdGetfd(pidfd, fd)
	if p.noThread {
		unix.Close(pidfd)
		return got, err
	}
	p.keepLocked(tid, pidfd)
	return got, err
}

func (p *FDCopier) openLocked(tid int) (int, error) {
	if !p.noThread {
		pidfd, err := unix.PidfdOpen(tid, linux.PidfdThread)
		switch {
		case err == nil:
			return pidfd, nil
		case errors.Is(err, unix.ESRCH):
			return -1, ErrGone
		case errors.Is(err, unix.EINVAL):
			p.noThread = true
		default:
			return -1, fmt.Errorf("pidfd_open thread %d: %w", tid, err)
		}
	}
	pid, err := processOf(tid)
	if err != nil {
		return -1, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, ErrGone
	}
	if err != nil {
		return -1, fmt.Errorf("pidfd_open process %d: %w", pid, err)
	}
	return pidfd, nil
}

func (p *FDCopier) keepLocked(tid, pidfd int) {
	if p.byTID == nil {
		p.byTID = make(map[int]int, maxPidfds())
	}
	if len(p.byTID) >= maxPidfds() {
		for old, fd := range p.byTID { // an arbitrary one: the map's order is random
			unix.Close(fd)
			delete(p.byTID, old)
			break
		}
	}
	p.byTID[tid] = pidfd
}

// Close closes the cached pidfds.
func (p *FDCopier) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range p.byTID {
		unix.Close(fd)
	}
	clear(p.byTID)
}

// CopyFD returns a copy of descriptor fd of a thread that need not be in a trapped call.
// The TID may belong to another thread by now, and the descriptor may refer to another
// file. So the caller of CopyFD must check which file it received.
func CopyFD(tid, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(tid, linux.PidfdThread)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.9
		var pid int
		if pid, err = processOf(tid); err == nil {
			pidfd, err = unix.PidfdOpen(pid, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("pidfd_open thread %d: %w", tid, err)
	}
	defer unix.Close(pidfd)
	return linux.PidfdGetfd(pidfd, fd)
}

// processOf returns the process ID of a thread: Tgid in /proc/TID/status (proc(5)).
func processOf(tid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if os.IsNotExist(err) {
		return 0, ErrGone
	}
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(b, []byte("\nTgid:\t"))
	line, _, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok || !ok2 {
		return 0, fmt.Errorf("/proc/%d/status: no Tgid", tid)
	}
	return strconv.Atoi(string(line))
}
