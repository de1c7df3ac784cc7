package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StartFiltered calls start on a thread of its own that is under the filter,
// so that the process which start forks is under it too, and this process is
// not: a seccomp filter belongs to a thread and passes to what that thread
// creates. The thread ends before StartFiltered returns. The listener is for
// [NewListener], here or in the process that it is sent to.
//
// Without CAP_SYS_ADMIN the child gets no_new_privs (seccomp(2)), with which
// setuid programs keep the caller's identity.
func StartFiltered(p Program, start func() error) (*os.File, error) {
	var listener *os.File
	err := onOwnThread(func() error {
		var err error
		if listener, err = install(p); err != nil {
			return err
		}
		if err = start(); err != nil {
			listener.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return listener, nil
}

// onOwnThread runs f on a thread that ends with it. The process's first thread
// will not do: the runtime parks it instead of ending it, and the filter would
// never be without a thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(f) // while this goroutine occupies the first thread
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the runtime ends the thread with the goroutine, and
		// makes no new thread from one that is locked.
		done <- f()
	}()
	return <-done
}

// ErrFilterBusy means that this process tree has a supervisor already: Linux
// allows one listener for each (seccomp(2), EBUSY).
var ErrFilterBusy = errors.New("a supervisor has this process tree already")

// install puts the filter on the calling thread and returns its listener.
func install(p Program) (*os.File, error) {
	if len(p) == 0 {
		return nil, errors.New("empty filter program")
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	listen := func() (uintptr, unix.Errno) {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
			unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
		return fd, errno
	}
	fd, errno := listen()
	if errno == unix.EACCES { // neither CAP_SYS_ADMIN nor no_new_privs
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
		}
		fd, errno = listen()
	}
	switch errno {
	case 0:
		return os.NewFile(fd, "seccomp-listener"), nil
	case unix.EBUSY:
		return nil, fmt.Errorf("seccomp(NEW_LISTENER): %w", ErrFilterBusy)
	}
	return nil, fmt.Errorf("seccomp(NEW_LISTENER): %w", errno)
}
