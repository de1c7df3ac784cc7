package launcher

// #include "catch.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// inherited are the dispositions that a program inherits: which signals are
// blocked, and which are ignored (nohup(1)). Bit n-1 is signal n.
type signalState struct{ Mask, Ignored uint64 }

// startedWith is what this process was started with, before Go's runtime
// changed it.
func startedWith() signalState {
	return signalState{uint64(C.boxer_original_mask), uint64(C.boxer_ignored)}
}

// ignore ignores what is to be ignored: programs that this process starts
// inherit that.
func (i signalState) ignore() {
	for n := unix.Signal(1); n <= 64; n++ {
		if i.ignores(n) {
			signal.Ignore(n)
		}
	}
}

func (i signalState) ignores(sig unix.Signal) bool { return i.Ignored&(1<<(sig-1)) != 0 }

// block gives the calling thread the inherited mask; a process that it forks
// has it, too.
func (i signalState) block() error {
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
	return decodeSignal(b[:]), nil
}

// decodeSignal reads a struct boxer_signal.
func decodeSignal(b []byte) caught {
	return caught{
		sig:  unix.Signal(binary.NativeEndian.Uint32(b)),
		code: int32(binary.NativeEndian.Uint32(b[4:])),
		pid:  int(binary.NativeEndian.Uint32(b[8:])),
	}
}

// groupWithin is how long a signal to a process group takes at most until all of it has
// had it.
const groupWithin = 20 * time.Millisecond

// forward passes signals on to the program until f is closed. Those of the
// terminal the program has had from there: it is in the same process group.
//
// A SIGCONT after a stop is mostly a shell's fg, which continues the whole process group:
// then the program has had it, too. And if the program was stopped again meanwhile, that
// must stay: the kernel drops a SIGCONT that waits when a stop comes, signal(7).
//
// boxer-init continues this process when the program runs again: its SIGCONT is not
// for the program.
func forward(f *os.File, pid, init int) {
	var ahead []caught  // read, and not dealt with yet
	var wasStopped bool // this process was, or is about to be, since the program was
	var ended time.Time // when boxer-init ended the last stop
	for {
		if len(ahead) == 0 {
			s, err := readSignal(f)
			if err != nil {
				return
			}
			ahead = append(ahead, s)
		}
		s := ahead[0]
		ahead = ahead[1:]
		switch {
		case s.sig == unix.SIGSTOP:
			wasStopped = true
			continue
		case s.sig == unix.SIGCONT && s.pid == init:
			if wasStopped {
				wasStopped, ended = false, time.Now()
			}
			continue
		case s.pid == pid, s.code == siKernel && !leaderOnly(s.sig):
			continue
		case s.sig == unix.SIGCONT:
			after := wasStopped || time.Since(ended) < groupWithin
			wasStopped = false
			// One look decides: a program that runs now may be stopped again a moment
			// later, and that stop is not for this signal to end.
			stopped := isStopped(pid)
			if stopped {
				time.Sleep(groupWithin)
				ahead = append(ahead, readWaiting(f)...)
				stopped = isStopped(pid)
			}
			if slices.ContainsFunc(ahead, isStop) || after && !stopped {
				continue
			}
		}
		unix.Kill(pid, s.sig)
	}
}

// noteStop tells forward that boxer-init will stop this process, since the program was
// stopped.
func noteStop() { C.boxer_note(C.int(unix.SIGSTOP)) }

func isStop(s caught) bool { return s.sig == unix.SIGTSTP || s.sig == unix.SIGSTOP }

// isStopped reports whether a process is stopped by a signal, see proc_pid_stat(5).
func isStopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(b, ')') // the name before may have anything in it
	return err == nil && i >= 0 && bytes.HasPrefix(b[i:], []byte(") T"))
}

// readWaiting returns the signals that have come already.
func readWaiting(f *os.File) (waiting []caught) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	raw.Read(func(fd uintptr) bool {
		for {
			var b [C.sizeof_struct_boxer_signal]byte
			n, err := unix.Read(int(fd), b[:])
			if err == unix.EINTR {
				continue
			}
			if n != len(b) {
				return true // nothing more
			}
			waiting = append(waiting, decodeSignal(b[:]))
		}
	})
	return waiting
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

// startupSignals takes signals while there is no program to pass them on to, before
// its start or after its end: one that would end a program ends what goes on then.
type startupSignals struct {
	f    *os.File
	done chan struct{}
}

func newStartupSignals(f *os.File, when string,
	cancel context.CancelCauseFunc) *startupSignals {
	e := &startupSignals{f, make(chan struct{})}
	go func() {
		defer close(e.done)
		for {
			s, err := readSignal(f)
			if err != nil {
				return
			}
			switch {
			case s.sig == unix.SIGCONT, s.sig == unix.SIGWINCH,
				startedWith().ignores(s.sig):
			case s.sig == unix.SIGTSTP:
				stopSelf()
			default:
				cancel(&ExitError{exitSignal + int(s.sig), fmt.Errorf("%v %s", s.sig, when)})
			}
		}
	}()
	return e
}

// stop gives the signals up to the next reader of the file.
func (e *startupSignals) stop() {
	e.f.SetReadDeadline(time.Now())
	<-e.done
	e.f.SetReadDeadline(time.Time{})
}

// stopSelf stops this process as the terminal would have stopped the program: the
// shell watches this process.
func stopSelf() { unix.Kill(os.Getpid(), unix.SIGSTOP) }
