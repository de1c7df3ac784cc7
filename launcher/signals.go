package launcher

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Fields of struct signalfd_siginfo (signalfd(2)), as offsets in bytes.
const (
	siginfoSize = 128
	siginfoCode = 8
	siginfoPID  = 12
)

// siKernel is SI_KERNEL: the terminal sent it, to the whole process group.
const siKernel = 0x80

// forwarded are the signals that early.c has blocked.
var forwarded = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGALRM, unix.SIGTERM, unix.SIGCONT, unix.SIGTSTP, unix.SIGWINCH}

// openSignals returns a signalfd for the signals to forward.
func openSignals() (*os.File, error) {
	var set unix.Sigset_t
	for _, s := range forwarded {
		set.Val[(s-1)/64] |= 1 << ((s - 1) % 64)
	}
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("signalfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "signalfd"), nil
}

// siginfo is the part of struct signalfd_siginfo that matters here.
type siginfo struct {
	sig  unix.Signal
	code int32
	pid  int // of the sender
}

func readSignal(f *os.File) (siginfo, error) {
	var b [siginfoSize]byte
	if _, err := f.Read(b[:]); err != nil {
		return siginfo{}, err
	}
	return siginfo{
		sig:  unix.Signal(binary.NativeEndian.Uint32(b[:])),
		code: int32(binary.NativeEndian.Uint32(b[siginfoCode:])),
		pid:  int(binary.NativeEndian.Uint32(b[siginfoPID:])),
	}, nil
}

// forward passes signals on to the program until f is closed. Those of the
// terminal the program has had from there: it is in the same process group.
func forward(f *os.File, pid int) {
	for {
		s, err := readSignal(f)
		if err != nil {
			return
		}
		if s.code == siKernel || s.pid == pid {
			continue
		}
		unix.Kill(pid, s.sig)
	}
}

// An early handler takes signals while there is no program to pass them on to:
// one that would end a program ends the start.
type early struct {
	f    *os.File
	done chan struct{}
}

func newEarly(f *os.File, cancel context.CancelCauseFunc) *early {
	e := &early{f, make(chan struct{})}
	go func() {
		defer close(e.done)
		for {
			s, err := readSignal(f)
			if err != nil {
				return
			}
			switch s.sig {
			case unix.SIGCONT, unix.SIGWINCH:
			case unix.SIGTSTP:
				stopSelf()
			default:
				cancel(&ExitError{exitSignal + int(s.sig), fmt.Errorf("%v before the program was started", s.sig)})
			}
		}
	}()
	return e
}

// stop gives the signals up to the next reader of the file.
func (e *early) stop() {
	e.f.SetReadDeadline(time.Now())
	<-e.done
	e.f.SetReadDeadline(time.Time{})
}

// stopSelf stops this process as its program was stopped: the shell watches
// this one. The terminal's SIGCONT continues both.
func stopSelf() { unix.Kill(os.Getpid(), unix.SIGSTOP) }
