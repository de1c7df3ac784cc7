package launcher

// #include "catch.h"
import "C"

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// inherited are the dispositions that a program inherits: which signals are
// blocked, and which are ignored (nohup(1)). Bit n-1 is signal n.
type inherited struct{ Mask, Ignored uint64 }

// startedWith is what this process was started with, before Go's runtime
// changed it.
func startedWith() inherited {
	return inherited{uint64(C.boxer_original_mask), uint64(C.boxer_ignored)}
}

// ignore ignores what is to be ignored: programs that this process starts
// inherit that.
func (i inherited) ignore() {
	for n := 1; n <= 64; n++ {
		if i.Ignored&(1<<(n-1)) != 0 {
			signal.Ignore(unix.Signal(n))
		}
	}
}

// block gives the calling thread the inherited mask; a process that it forks
// has it, too.
func (i inherited) block() error {
	var set unix.Sigset_t
	set.Val[0] = i.Mask
	return unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
}

// siKernel is SI_KERNEL of sigaction(2): the terminal sent the signal, to its
// whole foreground process group.
const siKernel = 0x80

// A caught signal; see struct boxer_signal.
type caught struct {
	sig  unix.Signal
	code int32
	pid  int // of the sender
}

// catchSignals returns a pipe with the signals to forward.
func catchSignals() (*os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("pipe for signals: %w", err)
	}
	C.boxer_catch(C.int(p[1]))
	return os.NewFile(uintptr(p[0]), "signals"), nil
}

// surviveSignals makes the signals that others forward harmless here; what this
// process starts does not inherit that.
func surviveSignals() { C.boxer_catch(-1) }

func readSignal(f *os.File) (caught, error) {
	var b [C.sizeof_struct_boxer_signal]byte
	if _, err := f.Read(b[:]); err != nil {
		return caught{}, err
	}
	return caught{
		sig:  unix.Signal(binary.NativeEndian.Uint32(b[:])),
		code: int32(binary.NativeEndian.Uint32(b[4:])),
		pid:  int(binary.NativeEndian.Uint32(b[8:])),
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
		if s.pid == pid || s.code == siKernel && !leaderOnly(s.sig) {
			continue
		}
		unix.Kill(pid, s.sig)
	}
}

// leaderOnly reports whether a signal of the terminal went to this process only
// and not to its whole process group: the hang-up, which is the session
// leader's (setsid(2)).
func leaderOnly(sig unix.Signal) bool {
	if sig != unix.SIGHUP {
		return false
	}
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
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
