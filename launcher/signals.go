package launcher

// #include "catch.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
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
	// early is true if the signal came before the program was known to run
	early bool
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

// A forwarder passes signals on to the program. Those of the terminal the program has had
// from there: it is in the same process group. A terminal's signal that came before the
// program was known to run is passed on all the same. The program may have had it, too,
// a moment after it began; but if it had not, a ^C would be lost.
//
// A SIGCONT after a stop is mostly a shell's fg, which continues the whole process group:
// then the program has had it, too. And if the program was stopped again meanwhile, that
// must stay: the kernel drops a SIGCONT that waits when a stop comes, signal(7).
//
// boxer-init continues this process when the program runs again: its SIGCONT is not
// for the program.
type forwarder struct {
	pid, init int               // of the program, and of boxer-init
	send      func(unix.Signal) // signals the program
	stopped   func() bool       // reports whether the program is stopped
	waiting   func() []caught   // returns the signals that have come already
	ahead     []caught          // read, and not dealt with yet
	// this process was stopped since the program was, or will be
	was   bool
	ended time.Time // when boxer-init ended the last stop
}

// newForwarder returns a forwarder for a program that runs. What f has already came
// before that.
func newForwarder(f *os.File, pid, init int) *forwarder {
	w := &forwarder{
		pid: pid, init: init,
		send:    func(sig unix.Signal) { unix.Kill(pid, sig) },
		stopped: func() bool { return isStopped(pid) },
		waiting: func() []caught { return readWaiting(f) },
		ahead:   readWaiting(f),
	}
	for i := range w.ahead {
		w.ahead[i].early = true
	}
	return w
}

// startForwarding passes signals on to a program that runs, until stop is called. f is
// nil without Effects.Signals.
func startForwarding(f *os.File, c *child) (stop func()) {
	if f == nil {
		return func() {}
	}
	w := newForwarder(f, c.pid, c.init)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(f)
	}()
	return func() {
		f.SetReadDeadline(time.Now()) // from here on, they are not for the program
		<-ended
		f.SetReadDeadline(time.Time{})
		// What came before the program's end was for the program: an old SIGTSTP would
		// stop this process while it waits for the peers, and the shell would see another
		// stop.
		readWaiting(f)
	}
}

// run passes signals on until f is closed, or its deadline has come.
func (w *forwarder) run(f *os.File) {
	for {
		for len(w.ahead) > 0 {
			s := w.ahead[0]
			w.ahead = w.ahead[1:]
			if w.isForProgram(s) {
				w.send(s.sig)
			}
		}
		s, err := readSignal(f)
		if err != nil {
			return
		}
		w.ahead = append(w.ahead, s)
	}
}

// isForProgram reports whether a signal is to be passed on.
func (w *forwarder) isForProgram(s caught) bool {
	switch {
	case s.sig == unix.SIGSTOP: // see noteStop
		w.was = true
		return false
	case s.sig == unix.SIGCONT && s.pid == w.init:
		if w.was {
			w.was, w.ended = false, time.Now()
		}
		return false
	case s.pid == w.pid:
		return false
	case s.code == siKernel && !leaderOnly(s.sig) && !s.early:
		return false
	case s.sig == unix.SIGCONT:
		return w.continues()
	}
	return true
}

// continues reports whether a SIGCONT is to be passed on.
func (w *forwarder) continues() bool {
	after := w.was || time.Since(w.ended) < groupWithin
	w.was = false
	// One look decides: a program that runs now may be stopped again a moment later, and
	// that stop is not for this signal to end.
	stopped := w.stopped()
	if stopped {
		time.Sleep(groupWithin)
		w.ahead = append(w.ahead, w.waiting()...)
		stopped = w.stopped()
	}
	return !slices.ContainsFunc(w.ahead, isStop) && (stopped || !after)
}

// noteStop tells the forwarder that boxer-init will stop this process, since the program
// was stopped.
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
			if errors.Is(err, unix.EINTR) {
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

// newStartupSignals takes the signals of a file, which is nil without Effects.Signals.
func newStartupSignals(f *os.File, when string,
	cancel context.CancelCauseFunc) *startupSignals {
	e := &startupSignals{f, make(chan struct{})}
	if f == nil {
		close(e.done)
		return e
	}
	go func() { // ends in stop
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
	if e.f == nil {
		return
	}
	e.f.SetReadDeadline(time.Now())
	<-e.done
	e.f.SetReadDeadline(time.Time{})
}

// stopSelf stops this process as the terminal would have stopped the program: the
// shell watches this process.
func stopSelf() { unix.Kill(os.Getpid(), unix.SIGSTOP) }
