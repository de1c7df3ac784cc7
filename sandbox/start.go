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

// StartFiltered calls start on a new thread that is under the filter. A seccomp filter
// belongs to a thread, and processes that the thread creates inherit it. So the process
// that start forks is under the filter, and this process is not. The thread ends before
// StartFiltered returns. Pass the listener to [NewListener], in this process or in
// another one that receives it.
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

// StartServed is StartFiltered for filters that trap calls which start or the Go runtime
// makes. It calls handOver with the listener on another thread, as soon as there is a
// listener. handOver must make sure that the listener is served, because the filtered
// thread may sleep in a trapped call until then.
func StartServed(p Program, handOver func(*os.File) error, start func() error) error {
	// Provide processors for the thread that may sleep, for handOver, and some to spare.
	// Switch the garbage collector off, because it would wait for the sleeping thread.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var fd atomic.Int64
	var handed atomic.Bool
	var failed error // of handOver, once handed is true
	fd.Store(-1)
	ended := make(chan struct{})
	go func() {
		// This thread polls: it asks the other thread for nothing, and the other thread
		// does not wake it.
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
		// Block signals. The runtime sends one to preempt a thread that has been in the
		// kernel for 10 ms. It could arrive after the filter was installed and before the
		// listener's number was stored. The handler returns by rt_sigreturn(2), which may
		// be trapped.
		all, before := linux.AllSignals(), unix.Sigset_t{}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
			return os.NewSyscallError("sigprocmask", err)
		}
		if err := install(p, &fd); err != nil {
			unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
			return err
		}
		// Do not wait on a channel. This thread would then give its processor to another
		// thread and wake it by futex(2). That call may be trapped while the listener is
		// not served yet. The processor would then run nothing, although goroutines that
		// handOver needs may be queued on it.
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

// installLook is the interval at which a thread checks whether the other thread has
// installed its filter.
const installLook = 20 * time.Microsecond

// onOwnThread runs f on a thread that ends with f. It does not use the process's first
// thread: the runtime parks that thread instead of ending it, so the filter would always
// have a thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(f) // this goroutine occupies the first thread meanwhile
			runtime.UnlockOSThread()
			return
		}
		// The thread is never unlocked. So the runtime ends it with the goroutine, and
		// does not create a new thread from it.
		done <- f()
	}()
	return <-done
}

// ErrFilterBusy means that this process tree already has a supervisor. Linux allows one
// listener per tree (seccomp(2), EBUSY).
var ErrFilterBusy = errors.New("a supervisor has this process tree already")

// install installs the filter on the calling thread and stores its listener in to.
// Afterwards the thread may sleep in any call that the runtime makes.
func install(p Program, to *atomic.Int64) error {
	if len(p) == 0 {
		return errors.New("empty filter program")
	}
	listen := func() error {
		// The runtime makes no other call between this one and the store of the number.
		fd, err := linux.InstallListener(p)
		if err == nil {
			to.Store(int64(fd))
		}
		return err
	}
	// On success, return without a call of any function. The beginning of a function is
	// where the runtime preempts a goroutine. It then wakes another thread by futex(2),
	// and this thread sleeps in that call, if it is trapped, until the listener is
	// served. That may never be, as the goroutine that hands it over may be queued on
	// this thread's processor.
	err := listen()
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EACCES) { // neither CAP_SYS_ADMIN nor no_new_privs
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
		}
		if err = listen(); err == nil {
			return nil
		}
	}
	if errors.Is(err, unix.EBUSY) {
		err = ErrFilterBusy
	}
	return fmt.Errorf("seccomp(NEW_LISTENER): %w", err)
}
