package syscalls

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A hold is the copy of a socket that calls of programs wait for. All waiting calls share
// one copy, however many processes wait in accept(2) on one listener. They take turns in
// order of arrival, as the kernel wakes exclusive waiters: the first waits for the
// socket, the others wait for the first.
type hold struct {
	r     *readiness
	id    uint64
	fd    int
	queue []*turn // by readiness.mu
}

// A turn is one call's position in the queue of a hold.
type turn struct {
	*hold
	first   chan struct{} // closed when the turn is the first of the queue
	expired <-chan time.Time
	stop    func()
}

// hold queues a call for the socket with cookie id. fd is a copy of the socket, which
// hold owns. The call uses the turn's fd until leave. opt is the socket's timeout that
// bounds the wait (SO_RCVTIMEO).
func (r *readiness) hold(id uint64, fd, opt int) *turn {
	t := &turn{first: make(chan struct{})}
	t.expired, t.stop = socketTimer(fd, opt)
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[id]
	if h == nil {
		h = &hold{r: r, id: id, fd: fd}
		r.held[id] = h
	} else {
		linux.Close(fd)
	}
	t.hold = h
	h.queue = append(h.queue, t)
	if len(h.queue) == 1 {
		close(t.first)
	}
	return t
}

// leave removes the call from the queue. The last one closes the copy.
func (t *turn) leave() {
	t.stop()
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	at := slices.Index(t.queue, t)
	t.queue = slices.Delete(t.queue, at, at+1)
	switch {
	case len(t.queue) == 0:
		delete(t.r.held, t.id)
		linux.Close(t.fd)
	case at == 0:
		close(t.queue[0].first)
	}
}

// wait waits until it is the call's turn and one of the events is ready. It fails with
// ctx's error, with EAGAIN when the socket's timeout expires, and with EINTR when the
// calling thread has ended: otherwise the copy would keep a killed server's port from its
// successor until the next sweep. Only the first waiting thread is checked: while it
// lives, the program has the socket open, too.
func (t *turn) wait(ctx context.Context, c Call, events int16) error {
	select {
	case <-t.first:
	case <-t.expired:
		return unix.EAGAIN
	case <-ctx.Done():
		return ctx.Err()
	}
	if ev, err := linux.Poll(t.fd, events); err == nil && ev != 0 {
		return nil
	}
	ended, err := unix.PidfdOpen(c.TID(), pidfdThread)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.9: only for a process's first thread
		ended, err = unix.PidfdOpen(c.TID(), 0)
	}
	if err == nil {
		defer linux.Close(ended)
	} else {
		ended = -1
	}
	if !c.Pending() { // the thread has ended; another one may have its number
		return unix.EINTR
	}
	return t.r.waitEither(ctx, t.fd, events, t.expired, ended)
}

// pidfdThread is PIDFD_THREAD of linux/pidfd.h (Linux 6.9): the descriptor refers to one
// thread, not to its process.
const pidfdThread = unix.O_EXCL
