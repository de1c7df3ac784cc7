package sandbox

import (
	"fmt"
	"os"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A Feature is a function of the kernel, which may lack it or which the host may forbid.
type Feature struct {
	Name   string // the system call or flag
	For    string // what boxer uses it for
	Needed bool   // boxer does not work without it
	Since  string // the first version of Linux that has it
	Err    error  // why it cannot be used; nil if it can
	Remedy string // what the user can do about Err
}

// Probe tries every feature that the package uses, on a thread of this process.
func Probe() []Feature {
	var trapped trial
	err := trapped.run()
	after := func(e error) error { // the later features cannot be tried after a failure
		if err != nil {
			return fmt.Errorf("not tried, since seccomp failed")
		}
		return e
	}
	const remedy = "run on Linux 5.14 or newer, outside of a container profile that forbids it"
	return []Feature{
		{Name: "seccomp(NEW_LISTENER)", For: "traps system calls", Needed: true,
			Since: "5.0", Err: err,
			Remedy: "run where seccomp(2) is allowed: virtual machines, containers with the default profile; not AWS Lambda functions"},
		{Name: "SECCOMP_USER_NOTIF_FLAG_CONTINUE", For: "leaves calls to the kernel",
			Needed: true, Since: "5.5",
			Err: after(trapped.resume), Remedy: remedy},
		{Name: "SECCOMP_ADDFD_FLAG_SEND",
			For: "gives accepted connections to the program", Needed: true, Since: "5.14",
			Err: after(trapped.install), Remedy: remedy},
		{Name: "pidfd_getfd(2)", For: "copies the program's sockets", Needed: true,
			Since:  "5.6",
			Err:    after(trapped.copyFD),
			Remedy: "allow ptrace(2) of own children: CAP_SYS_PTRACE in containers"},
		{Name: "process_vm_readv(2)", For: "reads addresses from the program's memory",
			Needed: false, Since: "3.2",
			Err: linux.HasProcessVM(), Remedy: "allow it; until then boxer takes /proc/PID/mem, which is slower"},
		{Name: "PIDFD_THREAD", For: "saves a look into /proc for each copied socket",
			Since: "6.9", Err: linux.HasPidfdThread()},
		{Name: "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP",
			For: "makes trapped calls about three times as fast", Since: "6.6",
			Err: after(trapped.sync)},
	}
}

// Usable returns nil if filters work on this host as the package needs them. Otherwise it
// returns the first reason why they do not. It tries them on a thread of this process,
// which ends before Usable returns.
func Usable() error {
	if err := CheckKernel(); err != nil {
		return err
	}
	var t trial
	if err := t.run(); err != nil {
		return err
	}
	for _, err := range []error{t.resume, t.install, t.copyFD} {
		if err != nil {
			return err
		}
	}
	return nil
}

// A trial traps three calls of a thread and answers each by a different mechanism.
type trial struct{ resume, install, copyFD, sync error }

func (t *trial) run() error {
	// Try this before libseccomp, whose errors do not show that the kernel refuses.
	if err := linux.HasSeccompAction(unix.SECCOMP_RET_USER_NOTIF); err != nil {
		return fmt.Errorf("seccomp(SECCOMP_RET_USER_NOTIF): %w", err)
	}
	prog, err := Policy{{Nr: unix.SYS_GETPPID}}.Compile()
	if err != nil {
		return err
	}
	// The filtered thread continues when its calls are answered. To answer them, the
	// trial needs the listener, which StartFiltered returns at its end. So the thread's
	// calls run on a goroutine, and start does not wait for them.
	calls := make(chan struct{})
	ended := make(chan struct{})
	f, err := startOnThread(prog, func() {
		defer close(ended)
		<-calls
		linux.Getppid()
		linux.Getppid()
		if fd, err := linux.Getppid(); err == nil {
			unix.Close(fd)
		}
	})
	if err != nil {
		return err
	}
	l, err := NewListener(f)
	if err != nil {
		close(calls)
		<-ended // the thread's calls fail with ENOSYS
		return err
	}
	if !l.SyncWakeUp {
		t.sync = unix.EINVAL
	}
	close(calls)
	turn := 0
	err = l.Serve(func(n *Notif) {
		switch turn++; turn {
		case 1:
			if t.resume = n.Continue(); t.resume != nil {
				n.Return(1)
			}
		case 2:
			var fd int
			if fd, t.copyFD = n.CopyFD(int(l.fd)); t.copyFD == nil {
				unix.Close(fd)
			}
			n.Fail(unix.EPERM)
		default:
			if _, t.install = n.InstallFD(int(l.fd), true); t.install != nil {
				n.Fail(unix.EPERM)
			}
		}
	})
	<-ended
	l.Close()
	return err
}

// startOnThread installs the filter on a thread that runs f and ends with f.
func startOnThread(p Program, f func()) (*os.File, error) {
	type result struct {
		listener *os.File
		err      error
	}
	installed := make(chan result, 1)
	go onOwnThread(func() error {
		var fd atomic.Int64
		if err := install(p, &fd); err != nil {
			installed <- result{err: err}
			return nil
		}
		installed <- result{listener: newListenerFile(&fd)}
		f()
		return nil
	})
	r := <-installed
	return r.listener, r.err
}
