package syscalls

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// waiting are the calls that wait for something. A call may end without us,
// by a signal, and the kernel tells nobody: a new call from the same thread
// does, and a look at all of them every now and then.
type waiting struct {
	count atomic.Int64
	mu    sync.Mutex
	m     map[int]*waiter // by thread
}

type waiter struct {
	call   Call
	cancel context.CancelFunc
}

// sweepEvery is how long a call that has ended may go on being waited for. It
// costs memory and a goroutine, nothing else: before a waiting call takes
// something (a connection), it looks whether it is still wanted.
const sweepEvery = time.Second

// add registers a waiting call. The returned function removes it.
func (w *waiting) add(c Call, cancel context.CancelFunc) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = make(map[int]*waiter)
	}
	mine := &waiter{c, cancel}
	w.m[c.TID()] = mine
	w.count.Store(int64(len(w.m)))
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.m[c.TID()] == mine {
			delete(w.m, c.TID())
			w.count.Store(int64(len(w.m)))
		}
	}
}

// arrived ends what the thread waited for: it cannot wait and call.
func (w *waiting) arrived(tid int) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.m[tid]; ok {
		old.cancel()
		delete(w.m, tid)
		w.count.Store(int64(len(w.m)))
	}
}

// sweep ends the calls that nobody waits for, until ctx ends.
func (w *waiting) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if w.count.Load() == 0 {
			continue
		}
		w.mu.Lock()
		for tid, c := range w.m {
			if !c.call.Pending() {
				c.cancel()
				delete(w.m, tid)
			}
		}
		w.count.Store(int64(len(w.m)))
		w.mu.Unlock()
	}
}

// waitReady waits until one of events holds at fd. It fails with ctx's error,
// or with EAGAIN when the socket's timeout opt (SO_RCVTIMEO or SO_SNDTIMEO) is
// over. It takes a thread for the wait; the program has one waiting, too.
func waitReady(ctx context.Context, fd int, events int16, opt int) error {
	return waitEither(ctx, fd, events, opt, -1)
}

// waitHolding is waitReady for a call that waits with a copy of its socket: it also ends
// when the calling thread has, with EINTR. The copy would keep the port of a killed
// server from the one that replaces it until the next sweep.
func waitHolding(ctx context.Context, c Call, fd int, events int16, opt int) error {
	ended, err := unix.PidfdOpen(c.TID(), pidfdThread)
	if err == unix.EINVAL { // before Linux 6.9: good for a process's first thread
		ended, err = unix.PidfdOpen(c.TID(), 0)
	}
	if err == nil {
		defer closeFD(ended)
	} else {
		ended = -1
	}
	if !c.Pending() { // it has ended already, and the number may be another thread's
		return unix.EINTR
	}
	return waitEither(ctx, fd, events, opt, ended)
}

// pidfdThread is PIDFD_THREAD of linux/pidfd.h (6.9): the descriptor stands for
// one thread, not for its process.
const pidfdThread = unix.O_EXCL

// waitEither is waitReady; it fails with EINTR when ended turns readable, if that is
// not negative.
func waitEither(ctx context.Context, fd int, events int16, opt, ended int) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken
		}
		closeFD(wake)
	}()
	var end time.Time // never, if zero
	if tv, err := timeout(fd, opt); err == nil && tv.Nano() > 0 {
		end = time.Now().Add(time.Duration(tv.Nano()))
	}
	p := [3]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}, {Fd: int32(ended), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p[:], millisecondsUntil(end))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case n == 0:
			return unix.EAGAIN
		case p[2].Revents != 0:
			return unix.EINTR
		}
		return nil
	}
}

// millisecondsUntil returns what poll(2) wants: the time that is left, rounded up, or -1 for ever if end is zero. The
// runtime's signals end a poll now and then; what it has waited counts.
func millisecondsUntil(end time.Time) int {
	if end.IsZero() {
		return -1
	}
	return max(0, int((time.Until(end)+time.Millisecond-1)/time.Millisecond))
}
