package meter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// churn repeatedly connects, receives a byte and closes, with a number of connections at
// a time.
func churn(ctx context.Context, dial Dialer, workers int, while time.Duration) (Result, error) {
	var (
		wg    sync.WaitGroup
		done  atomic.Int64
		errs  = make([]error, workers)
		start = time.Now()
	)
	for i := range workers {
		wg.Go(func() {
			for time.Since(start) < while {
				c, err := open(ctx, dial, modeEcho)
				if err != nil {
					errs[i] = err
					return
				}
				c.Close()
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return Result{Count: int(done.Load()), Elapsed: time.Since(start)},
		errors.Join(errs...)
}

// openersAtOnce bounds how many connections rest opens at a time.
const openersAtOnce = 16

// rest opens a number of idle connections, and closes the previous ones.
func (c *client) rest(ctx context.Context, count int) (Result, error) {
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = make([]Conn, count)
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		errs  = make([]error, openersAtOnce)
		start = time.Now()
	)
	for w := range openersAtOnce {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				if c.idle[i], errs[w] = open(ctx, c.dial, modeIdle); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err != nil {
		for _, conn := range c.idle {
			if conn != nil {
				conn.Close()
			}
		}
		c.idle = nil
	}
	return Result{Count: count, Elapsed: time.Since(start)}, err
}
