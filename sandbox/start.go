package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
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
		var fd atomic.Int64
		if err := install(p, &fd); err != nil {
			return err
		}
		listener = newListenerFile(&fd)
		err := start()
		if err != nil {
			listener.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return listener, nil
}

func newListenerFile(fd *atomic.Int64) *os.File {
	return os.NewFile(uintptr(fd.Load()), "seccomp-listener")
}

// StartServed is StartFiltered for filters that trap calls which start makes, or
// the runtime around it. handOver gets the listener as soon as there is one, on
// another thread, and sees to it that it is served: the filtered thread
// may sleep in a trapped call until then.
func StartServed(p Program, handOver func(*os.File) error, start func() error) error {
	// Processors for the thread that may sleep, for handOver, and to spare; and no
	// collection of garbage that would wait for the first.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var fd atomic.Int64
	var handed atomic.Bool
	var failed error // of handOver, once handed is true
	fd.Store(-1)
	ended := make(chan struct{})
	go func() {
		// The other thread is not asked for anything, and does not wake us.
		for fd.Load() < 0 {
			select {
			case <-ended:
				return
			case <-time.After(installLook):
			}
		}
		failed = handOver(newListenerFile(&fd))
		handed.Store(true)
	}()
	defer close(ended)
	return onOwnThread(func() error {
		// A signal would come as the filter is there and the listener's number not yet
		// stored: the runtime preempts who is in the kernel for 10 ms. Its handler
		// returns by rt_sigreturn(2), which may be trapped.
		all, before := linux.AllSignals(), unix.Sigset_t{}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
			return os.NewSyscallError("sigprocmask", err)
		}
		if err := install(p, &fd); err != nil {
			unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
			return err
		}
		// Not by a channel: to wait there, this thread gives its processor to another and
		// wakes that by futex(2), which may be trapped, while nobody serves the listener
		// yet. The processor would be nobody's, and what handOver needs may be queued
		// there.
		for !handed.Load() {
		}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
			return os.NewSyscallError("sigprocmask", err)
		}
		if failed != nil {
			return failed
		}
		return start()
	})
}

// installLook is how often one thread looks whether another has its filter.
const installLook = 20 * time.Microsecond

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

// install puts the filter on the calling thread and stores its listener in to.
// From then on the thread may sleep in a call of the runtime's.
func install(p Program, to *atomic.Int64) error {
	if len(p) == 0 {
		return errors.New("empty filter program")
	}
	listen := func() error {
		// After the call, the runtime makes no other before the number is stored.
		fd, err := linux.InstallListener(p)
		if err == nil {
			to.Store(int64(fd))
		}
		return err
	}
	err := listen()
	if errors.Is(err, unix.EACCES) { // neither CAP_SYS_ADMIN nor no_new_privs
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
		}
		err = listen()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		err = ErrFilterBusy
	}
	return fmt.Errorf("seccomp(NEW_LISTENER): %w", err)
}
