package syscalls

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// waiting are the calls that wait. A signal may end a call, and the kernel does not
// report that. A new call of the same thread shows it, and a periodic check of all calls.
type waiting struct {
	count atomic.Int64
	mu    sync.Mutex
	m     map[int]*waiter // by thread
}

type waiter struct {
	call   Call
	cancel context.CancelFunc
}

// sweepEvery is how long boxer may wait for a call that has ended. That costs only memory
// and a goroutine: before a waiting call accepts a connection or reads data, it checks
// whether the call still waits.
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

// arrived ends the thread's waiting call: a thread that calls does not wait any more.
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

// sweep ends waiting calls whose threads do not wait any more, until ctx ends.
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
