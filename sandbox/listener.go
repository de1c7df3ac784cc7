package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A Listener receives the trapped calls of one process tree. One goroutine
// receives; any goroutine may answer.
type Listener struct {
	file   *os.File // with the runtime's poller
	raw    syscall.RawConn
	fd     uintptr
	pidfds FDCopier

	// What wait has found, and ready as the poller calls it, made once: a method value is
	// an allocation.
	revents int16
	pollErr error
	look    func(fd uintptr) (done bool)

	// SyncWakeUp tells whether the kernel hands the processor straight over
	// between program and supervisor (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP).
	SyncWakeUp bool
}

// NewListener takes over a listener that [StartFiltered] returned, also if it fails.
func NewListener(f *os.File) (*Listener, error) {
	defer f.Close()
	// Waiting is the poller's: a thread that waited by itself would hold one of the
	// runtime's processors, and there may be one only, until the monitor takes it
	// away, some 20 us after somebody else wanted it.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup listener", err)
	}
	// or os.NewFile leaves the poller out
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl listener", err)
	}
	l := &Listener{file: os.NewFile(uintptr(fd), "seccomp listener"), fd: uintptr(fd)}
	l.look = l.ready
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("listener: %w", err)
	}
	// Before 6.6 this fails, and answers take about three times as long.
	err = linux.SetNotifFlags(l.fd, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	l.SyncWakeUp = err == nil
	return l, nil
}

// Close releases the listener. From then on every trapped call of the tree
// fails with ENOSYS. It must not be called during Serve.
func (l *Listener) Close() error {
	l.pidfds.Close()
	return l.file.Close()
}

// Serve receives calls and hands each to answer, on the calling goroutine, until no
// thread is left under the filter; then it returns nil. The Notif is reused: answer keeps
// a call by its Clone.
func (l *Listener) Serve(answer func(*Notif)) error {
	n := &Notif{l: l}
	for {
		switch err := l.recv(n); {
		case err == nil:
			answer(n)
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// recv waits for the next call. It returns io.EOF when no thread is left under
// the filter.
func (l *Listener) recv(n *Notif) error {
	for {
		if err := l.wait(); err != nil {
			return err
		}
		n.raw, n.alive = linux.SeccompNotif{}, false // the kernel wants it zeroed
		// It does not block: a call that has ended since leaves ENOENT.
		switch err := linux.ReceiveNotif(l.fd, &n.raw); {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR):
		default:
			return fmt.Errorf("receive trapped call: %w", err)
		}
	}
}

// wait waits until there is a call, or io.EOF. The poller tells of changes only, and
// late ones of calls that have been received, so each time the kernel is asked.
func (l *Listener) wait() error {
	err := l.raw.Read(l.look)
	switch {
	case err != nil:
		return fmt.Errorf("wait for trapped call: %w", err)
	case l.pollErr != nil:
		return os.NewSyscallError("poll listener", l.pollErr)
	case l.revents&unix.POLLIN == 0:
		// POLLHUP: no thread is left under the filter, since 5.9
		return io.EOF
	}
	return nil
}

// ready reports whether there is something to tell.
func (l *Listener) ready(fd uintptr) bool {
	l.revents, l.pollErr = linux.Poll(int(fd), unix.POLLIN)
	return l.pollErr != nil || l.revents&(unix.POLLIN|unix.POLLHUP) != 0
}
