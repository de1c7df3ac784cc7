package launcher

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// drainStall is how long the supervisor waits while the peers read nothing of what
	// the program wrote. Linux keeps an orphaned connection for about as long when the
	// peer's window stays closed (tcp_orphan_retries, tcp(7)).
	drainStall = 30 * time.Second
	// drainAsk is how often the supervisor asks its peers meanwhile. A peer answers when
	// everything is delivered, or when its program has stopped reading.
	drainAsk = time.Second
	// drainTell is the time after which the supervisor logs what it waits for.
	drainTell = 5 * time.Second
)

// drain waits for connections that the program has left open. What the program wrote
// before its end is still in transit, and Linux would deliver it, too. limit bounds the
// wait; with limit 0, it lasts as long as the peers read. With a negative limit, drain
// does not wait, and returns no error. A signal that would end a program ends the wait.
func (n *node) drain(ctx context.Context, limit time.Duration, signals *os.File) error {
	if limit < 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	startupSignals := newStartupSignals(signals,
		"before the peers had read all that the program wrote", cancel)
	defer startupSignals.stop()
	if limit > 0 {
		over := fmt.Errorf("--drain %v was too short", limit)
		defer time.AfterFunc(limit, func() { cancel(over) }).Stop()
	} else {
		var watching sync.WaitGroup
		n.watchDrain(ctx, cancel, &watching)
		defer watching.Wait() // after cancel
		defer cancel(nil)
	}
	defer time.AfterFunc(drainTell, func() {
		n.member.log.Warn("the program has ended; boxer waits until the peers have read what it wrote", "connections", n.calls.Relays())
	}).Stop()
	unconfirmed, err := n.calls.Drain(ctx)
	left := n.calls.Relays()
	if n.member.drainDatagrams(ctx) {
		unconfirmed = true
	}
	if err == nil && unconfirmed {
		err = n.member.flush(ctx)
	}
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("the program has ended, but boxer could not deliver all that it wrote (%d connections): %w", left, err)
}

// watchDrain cancels a drain when a peer's program has read nothing for drainStall. Its
// goroutines end with ctx, and the caller waits for them by wg.
func (n *node) watchDrain(ctx context.Context, cancel context.CancelCauseFunc,
	wg *sync.WaitGroup) {
	for _, p := range n.member.node.Paths() {
		if !p.Connected {
			continue
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := n.member.askDelivered(ctx, p.ID); err != nil {
					cancel(err)
				}
				select {
				case <-time.After(drainAsk):
				case <-ctx.Done():
				}
			}
		})
	}
}
