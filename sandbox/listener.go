package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A Listener receives the trapped calls of one process tree. One goroutine receives them.
// Any goroutine may answer.
type Listener struct {
	file   *os.File // registered with the runtime's poller
	raw    syscall.RawConn
	fd     uintptr
	pidfds FDCopier

	// using is held for reading while a Notif uses fd. Answers to kept calls may come
	// after Close, when the number of fd may belong to another file.
	using  sync.RWMutex
	closed bool // guarded by using

	// The result of wait, and the function ready for the poller. ready is stored once,
	// because a method value costs an allocation.
	revents int16
	pollErr error
	look    func(fd uintptr) (done bool)

	// SyncWakeUp reports whether the kernel hands the processor directly from the program
	// to the supervisor and back (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP).
	SyncWakeUp bool
}

// NewListener takes ownership of a listener that [StartFiltered] returned, also if
// NewListener fails.
func NewListener(f *os.File) (*Listener, error) {
	defer f.Close()
	// The runtime's poller waits for calls. A thread that waited in the kernel would hold
	// one of the runtime's processors, perhaps the only one. The runtime's monitor takes
	// the processor away only some 20 us after another goroutine needs it.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup listener", err)
	}
	// os.NewFile registers only non-blocking files with the poller
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
	// Before Linux 6.6 this fails, and an answer takes about three times as long.
	err = linux.SetNotifFlags(l.fd, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	l.SyncWakeUp = err == nil
	return l, nil
}

// Close releases the listener. Afterwards every trapped call of the tree fails with
// ENOSYS, and the methods of calls that were kept fail with ErrGone. Close must not be
// called during Serve.
func (l *Listener) Close() error {
	l.using.Lock()
	l.closed = true
	l.using.Unlock()
	l.pidfds.Close()
	return l.file.Close()
}

// use calls f with the descriptor, which stays open meanwhile. It does not call f if the
// listener is closed.
func (l *Listener) use(f func(fd uintptr)) {
	l.using.RLock()
	defer l.using.RUnlock()
	if !l.closed {
		f(l.fd)
	}
}

// Serve receives calls and passes each to answer on the calling goroutine. It returns nil
// when no thread is left under the filter. Serve reuses the Notif: to keep a call, answer
// uses Clone.
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
		n.raw, n.alive = linux.SeccompNotif{}, false // the kernel requires zeroes
		// This does not block: if the call has ended meanwhile, the kernel returns
		// ENOENT.
		switch err := linux.ReceiveNotif(l.fd, &n.raw); {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR):
		default:
			return fmt.Errorf("receive trapped call: %w", err)
		}
	}
}

// wait waits until there is a call, or returns io.EOF. The poller reports only changes,
// and may report late changes of calls that were already received. So wait asks the
// kernel each time.
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

// ready reports whether wait has a result.
func (l *Listener) ready(fd uintptr) bool {
	l.revents, l.pollErr = linux.Poll(int(fd), unix.POLLIN)
	return l.pollErr != nil || l.revents&(unix.POLLIN|unix.POLLHUP) != 0
}
