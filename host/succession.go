package host

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// A Life says how long a process lives, and what happens then.
type Life struct {
	Max     time.Duration // zero: until the program ends
	AtLimit AtLimit

	// Ready waits until the successor with the given node-ID is ready. Nil: a successor
	// is ready when its program has been started.
	Ready func(ctx context.Context, node uint32) error

	// Unlist has the name of a node lead to it no more, before its program gets SIGTERM
	// because a successor has taken its place. Nil: the name leads to both for a while.
	Unlist func(ctx context.Context, node uint32) error

	// Command runs a command in a node at the limit, see Command.
	Command func(ctx context.Context, node uint32) error

	// Patience bounds how long a successor may take to become ready. Zero: as long as its
	// predecessor lives.
	Patience time.Duration
}

// AtLimit says what happens to a process at the end of its life.
type AtLimit string

// What happens at the limit.
const (
	// Stop sends SIGTERM.
	Stop AtLimit = "stop"
	// Replace starts a successor with the same order, and so with the same name. When the
	// successor is ready, its predecessor gets SIGTERM.
	Replace AtLimit = "replace"
	// Command calls Life.Command, and then sends SIGTERM.
	Command AtLimit = "command"
)

// live waits for the end of a process and of its successors, and returns the last one's
// result.
func (r *run) live(j *job) (Result, error) {
	for {
		next := r.liveOnce(j)
		if next == nil {
			break
		}
		j = next
	}
	result, err := j.process.Wait()
	j.flush()
	if result.Code < 0 || result.Code > maxCode {
		result.Code = exitBoxer // no exit code of a program
	}
	return result, err
}

// maxCode is the largest exit code.
const maxCode = 255

// liveOnce waits for the end of a process, or until a successor has taken its place.
func (r *run) liveOnce(j *job) (next *job) {
	ended := make(chan struct{})
	go func() { // ends with the process
		_, _ = j.process.Wait() // live asks again
		close(ended)
	}()
	if r.cfg.Life.Max == 0 {
		<-ended
		return nil
	}
	limit := time.NewTimer(r.cfg.Life.Max)
	defer limit.Stop()
	select {
	case <-ended:
		return nil
	case <-limit.C:
	}
	switch r.cfg.Life.AtLimit {
	case Replace:
		next = r.succeed(j)
	case Command:
		r.obey(j)
	default:
		r.end(j)
	}
	if next == nil { // without a successor, the process lives until its host ends it
		<-ended
	}
	return next
}

// succeed starts a successor of a process and waits until it can take over. It returns
// nil if there is none.
func (r *run) succeed(j *job) *job {
	next, err := r.order(j.index, false)
	if err != nil {
		r.say("%s: no successor: %v", r.label(j), err)
		return nil
	}
	r.say("%s: its successor starts", r.label(j))
	if err := r.awaitReady(next); err != nil {
		r.say("%s: its successor is not ready: %v", r.label(j), err)
		r.mu.Lock()
		next.replaced = true
		r.mu.Unlock()
		next.process.Release()
		r.end(next)
		return nil
	}
	r.say("%s: its successor is ready", r.label(j))
	r.mu.Lock()
	j.replaced = true
	r.mu.Unlock()
	r.unlist(j)
	r.end(j)
	go func() { // ends with the process
		_, _ = j.process.Wait()
		j.flush()
	}()
	return next
}

// unlistedFor is how long a program that is replaced goes on after its name has ceased to
// lead to it: the other nodes learn of that, and clients connect to what they have
// resolved just before.
const unlistedFor = 500 * time.Millisecond

// unlist has the name of a process's node not lead to it any more.
func (r *run) unlist(j *job) {
	select {
	case <-j.attached:
	default:
		return
	}
	if r.cfg.Life.Unlist == nil {
		return
	}
	if err := r.cfg.Life.Unlist(r.ctx, j.peer); err != nil {
		r.say("%s: its name leads to it until it has ended: %v", r.label(j), err)
		return
	}
	select {
	case <-time.After(unlistedFor):
	case <-r.ctx.Done():
	}
}

// obey runs the command for the limit in a process's node, and then ends the process.
func (r *run) obey(j *job) {
	select {
	case <-j.attached:
		if err := r.cfg.Life.Command(r.ctx, j.peer); err != nil {
			r.say("%s: the command at its limit: %v", r.label(j), err)
		}
	default:
	}
	r.end(j)
}

// awaitReady waits until a successor is ready, even if its predecessor ends meanwhile.
func (r *run) awaitReady(next *job) error {
	ctx := r.ctx
	if p := r.cfg.Life.Patience; p > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, p, fmt.Errorf("not after %v", p))
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the process
		if _, err := next.process.Wait(); err != nil {
			cancel(err)
			return
		}
		cancel(errors.New("its program has ended"))
	}()
	select {
	case <-next.attached:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.cfg.Life.Ready == nil {
		return nil
	}
	if err := r.cfg.Life.Ready(ctx, next.peer); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return nil
}

// end sends SIGTERM to a process.
func (r *run) end(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j.send(syscall.SIGTERM)
}
