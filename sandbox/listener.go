package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ioctl numbers of linux/seccomp.h. They are the same on amd64 and arm64;
// golang.org/x/sys/unix has some of them for a few architectures only.
const (
	ioctlRecv     = 0xc0502100
	ioctlSend     = 0xc0182101
	ioctlIDValid  = 0x40082102
	ioctlAddFD    = 0x40182103
	ioctlSetFlags = 0x40082104
)

// A Listener receives the trapped calls of one process tree. One goroutine
// receives; any goroutine may answer.
type Listener struct {
	file   *os.File
	fd     uintptr
	pidfds pidfds

	// SyncWakeUp tells whether the kernel hands the processor straight over
	// between program and supervisor (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP).
	SyncWakeUp bool

	receiveEnds bool // a receive does not outlive the last thread: see recv
}

// NewListener takes over a listener that [StartFiltered] returned.
func NewListener(f *os.File) *Listener {
	l := &Listener{file: f, fd: f.Fd(), receiveEnds: kernelSince(6, 11)}
	// Before 6.6 this fails, and answers take about three times as long.
	err := ioctl(l.fd, ioctlSetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	l.SyncWakeUp = err == nil
	return l
}

// Close releases the listener. From then on every trapped call of the tree
// fails with ENOSYS. It must not be called during Recv.
func (l *Listener) Close() error {
	l.pidfds.close()
	return l.file.Close()
}

// Serve receives calls on the calling goroutine, with its thread locked and
// every signal masked, and hands each to answer, until no thread is left under
// the filter; then it returns nil. The Notif is reused: answer keeps a call by
// its Clone.
func (l *Listener) Serve(answer func(*Notif)) error {
	var err error
	Masked(func() {
		n := &Notif{l: l}
		for err == nil {
			if err = l.recv(n); err == nil {
				answer(n)
			}
		}
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// recv waits for the next call. It returns io.EOF when no thread is left under
// the filter.
func (l *Listener) recv(n *Notif) error {
	for {
		// Before 6.11 a receive sleeps for ever once the last thread is gone, and
		// closing the descriptor does not wake it; so poll(2) does the waiting. On
		// newer kernels it would only cost: a receive ends there with ENOENT.
		if !l.receiveEnds {
			if gone, err := l.poll(-1); err != nil || gone {
				return cmp.Or(err, io.EOF)
			}
		}
		n.raw, n.alive = rawNotif{}, false // the kernel wants it zeroed
		switch err := ioctl(l.fd, ioctlRecv, uintptr(unsafe.Pointer(&n.raw))); err {
		case nil:
			return nil
		case unix.ENOENT, unix.EINTR: // the caller has died or was interrupted, or it was the last
			if gone, err := l.poll(0); err != nil || gone {
				return cmp.Or(err, io.EOF)
			}
		default:
			return fmt.Errorf("receive trapped call: %w", err)
		}
	}
}

// poll waits for a call, for at most so many milliseconds, -1 for any time. gone
// means that no thread is left under the filter (POLLHUP, since 5.9).
func (l *Listener) poll(timeout int) (gone bool, err error) {
	p := [1]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(p[:], timeout)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll listener: %w", err)
		}
		return p[0].Revents&(unix.POLLIN|unix.POLLHUP) == unix.POLLHUP, nil
	}
}

// kernelSince reports whether the kernel's version is at least major.minor.
func kernelSince(major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(Kernel(), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// Masked runs f with the calling goroutine locked to its thread and every
// signal masked there.
func Masked(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		panic("sandbox: pthread_sigmask: " + err.Error()) // cannot fail with valid arguments
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	f()
}

// ioctl returns a bare errno, or nil.
func ioctl(fd, request, arg uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, arg); errno != 0 {
		return errno
	}
	return nil
}
