package launcher

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// errEffects means that a second node of the process asked for effects.
var errEffects = errors.New("another node has effects on this process already; leave RunConfig.Effects empty")

// affected is true while a node of this process has effects on it.
var affected atomic.Bool

// processEffects are the effects of a node that are in force.
type processEffects struct {
	Effects
	signals   *os.File // for Signals; nil without it
	inherited []int    // for Descriptors
	others    []int    // for Reaper: children that this process had before
	undo      []func()
}

// apply applies the effects to this process. release undoes those that can be undone.
func (e Effects) apply() (_ *processEffects, err error) {
	p := &processEffects{Effects: e}
	if e == (Effects{}) {
		return p, nil
	}
	if !affected.CompareAndSwap(false, true) {
		return nil, errEffects
	}
	p.undo = append(p.undo, func() { affected.Store(false) })
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	if e.Processors {
		before := runtime.GOMAXPROCS(0)
		ShareProcessors()
		p.undo = append(p.undo, func() { runtime.GOMAXPROCS(before) })
	}
	if e.Descriptors {
		p.inherited = inheritedFDs()
	}
	if e.Signals {
		if p.signals, err = catchSignals(); err != nil {
			return nil, err
		}
		p.undo = append(p.undo, func() {
			surviveSignals() // a handler may still write to the pipe's other end
			p.signals.Close()
		})
	}
	if e.Reaper {
		p.others = children(os.Getpid())
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("prctl(PR_SET_CHILD_SUBREAPER): %w", err)
		}
		p.undo = append(p.undo, func() {
			unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		})
	}
	return p, nil
}

// release undoes the effects in reverse.
func (p *processEffects) release() {
	for ; len(p.undo) > 0; p.undo = p.undo[:len(p.undo)-1] {
		p.undo[len(p.undo)-1]()
	}
}
