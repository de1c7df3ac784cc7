package syscalls

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
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
