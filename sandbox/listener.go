package sandbox

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
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
	file   *os.File // with the runtime's poller
	raw    syscall.RawConn
	fd     uintptr
	pidfds FDCopier

	// What wait has found, and ready as the poller calls it, made once: a method value is
	// an allocation.
	revents int16
	errno   unix.Errno
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
	err = ioctl(l.fd, ioctlSetFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
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
		switch err := l.recv(n); err {
		case nil:
			answer(n)
		case io.EOF:
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
		n.raw, n.alive = rawNotif{}, false // the kernel wants it zeroed
		// It does not block: a call that has ended since leaves ENOENT.
		switch err := ioctl(l.fd, ioctlRecv, uintptr(unsafe.Pointer(&n.raw))); err {
		case nil:
			return nil
		case unix.ENOENT, unix.EINTR:
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
	case l.errno != 0:
		return os.NewSyscallError("poll listener", l.errno)
	case l.revents&unix.POLLIN == 0:
		// POLLHUP: no thread is left under the filter, since 5.9
		return io.EOF
	}
	return nil
}

// ready reports whether there is something to tell.
func (l *Listener) ready(fd uintptr) bool {
	l.revents, l.errno = pollNow(fd)
	return l.errno != 0 || l.revents&(unix.POLLIN|unix.POLLHUP) != 0
}

// pollNow is poll(2) without waiting.
func pollNow(fd uintptr) (revents int16, errno unix.Errno) {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	for {
		var now unix.Timespec
		_, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
			uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno != unix.EINTR {
			return p.Revents, errno
		}
	}
}

// masked runs f with the calling goroutine locked to its thread and every
// signal masked there.
func masked(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		// cannot fail with valid arguments
		panic("sandbox: pthread_sigmask: " + err.Error())
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	f()
}

// ioctl returns a bare errno, or nil. As all calls that do not block it goes past the
// runtime, which takes others for ones that may, and wakes its monitor for them: that
// then looks every 20 us what has become of them, which costs more than the calls.
func ioctl(fd, request, arg uintptr) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, fd, request, arg); errno != 0 {
		return errno
	}
	return nil
}
