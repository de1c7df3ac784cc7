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

// A signalState has the signals that a process inherits as blocked and as ignored
// (nohup(1)). Bit n-1 is signal n.
type signalState struct{ Mask, Ignored uint64 }

// startedWith returns the state with which this process was started, before Go's runtime
// changed it.
func startedWith() signalState {
	return signalState{uint64(C.boxer_original_mask), uint64(C.boxer_ignored)}
}

// ignore ignores the signals that were ignored, so that programs that this process starts
// inherit that.
func (i signalState) ignore() {
	for n := unix.Signal(1); n <= 64; n++ {
		if i.ignores(n) {
			signal.Ignore(n)
		}
	}
}

func (i signalState) ignores(sig unix.Signal) bool { return i.Ignored&(1<<(sig-1)) != 0 }

// block sets the calling thread's mask to the inherited one. A process that this thread
// forks inherits it.
func (i signalState) block() error {
	var set unix.Sigset_t
	set.Val[0] = i.Mask
	return unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
}

// siKernel is SI_KERNEL of sigaction(2): the terminal sent the signal to its whole
// foreground process group.
const siKernel = 0x80

// A caught is a caught signal, see struct boxer_signal.
type caught struct {
	sig  unix.Signal
	code int32
	pid  int // of the sender
	// the signal arrived before it was known that the program runs
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

// surviveSignals catches and drops the signals that catchSignals would forward. Programs
// that this process starts do not inherit that.
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

// groupWithin bounds the time until every process of a group has received a signal that
// was sent to the group.
const groupWithin = 20 * time.Millisecond

// A forwarder forwards signals to the program.
//
// The terminal sends its signals to the whole process group, so the program has received
// those already. The forwarder still forwards a terminal's signal that arrived before it
// was known that the program runs: otherwise a ^C could be lost. The program may then
// receive it twice.
//
// A SIGCONT after a stop mostly comes from a shell's fg, which continues the whole
// process group, so the program has received it, too. If the program was stopped again
// meanwhile, it must stay stopped: a stop removes a pending SIGCONT (signal(7)).
//
// boxer-init continues this process when the program runs again. Its SIGCONT is not
// forwarded.
type forwarder struct {
	pid, init int               // of the program, and of boxer-init
	send      func(unix.Signal) // signals the program
	stopped   func() bool       // reports whether the program is stopped
	waiting   func() []caught   // returns the signals that have arrived
	ahead     []caught          // signals that were read and not handled yet
	// this process was stopped because the program was, or will be
	was   bool
	ended time.Time // when boxer-init continued this process last
}

// newForwarder returns a forwarder for a program that runs. The signals that f has
// already arrived before that.
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

// startForwarding forwards signals to a program that runs, until stop is called. f is nil
// without Effects.Signals.
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
		f.SetReadDeadline(time.Now()) // later signals are not for the program
		<-ended
		f.SetReadDeadline(time.Time{})
		// Signals from before the program's end were for the program. An old SIGTSTP
		// would stop this process while it waits for the peers, and the shell would see a
		// second stop.
		readWaiting(f)
	}
}

// run forwards signals until f is closed or its read deadline has passed.
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

// isForProgram reports whether to forward a signal.
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

// continues reports whether to forward a SIGCONT.
func (w *forwarder) continues() bool {
	after := w.was || time.Since(w.ended) < groupWithin
	w.was = false
	// Look only once: a program that runs now may be stopped again a moment later, and
	// this signal must not end that stop.
	stopped := w.stopped()
	if stopped {
		time.Sleep(groupWithin)
		w.ahead = append(w.ahead, w.waiting()...)
		stopped = w.stopped()
	}
	return !slices.ContainsFunc(w.ahead, isStop) && (stopped || !after)
}

// noteStop tells the forwarder that boxer-init will stop this process, because the
// program was stopped.
func noteStop() { C.boxer_note(C.int(unix.SIGSTOP)) }

func isStop(s caught) bool { return s.sig == unix.SIGTSTP || s.sig == unix.SIGSTOP }

// isStopped reports whether a process is stopped by a signal, see proc_pid_stat(5).
func isStopped(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(b, ')') // the name before may contain any character
	return err == nil && i >= 0 && bytes.HasPrefix(b[i:], []byte(") T"))
}

// readWaiting returns the signals that have arrived.
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
				return true // no more signals
			}
			waiting = append(waiting, decodeSignal(b[:]))
		}
	})
	return waiting
}

// leaderOnly reports whether the terminal sent a signal to this process only, and not to
// its process group: SIGHUP, which the session leader gets (setsid(2)).
func leaderOnly(sig unix.Signal) bool {
	if sig != unix.SIGHUP {
		return false
	}
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
}

// startupSignals handles signals while no program runs that could receive them: before
// its start and after its end. A signal that would end a program ends what this process
// does meanwhile.
type startupSignals struct {
	f    *os.File
	done chan struct{}
}

// newStartupSignals begins to read signals from a file, which is nil without
// Effects.Signals.
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

// stop ends the reading, so that another reader gets the next signals.
func (e *startupSignals) stop() {
	if e.f == nil {
		return
	}
	e.f.SetReadDeadline(time.Now())
	<-e.done
	e.f.SetReadDeadline(time.Time{})
}

// stopSelf stops this process, as the terminal would have stopped the program. The shell
// watches this process.
func stopSelf() { unix.Kill(os.Getpid(), unix.SIGSTOP) }
