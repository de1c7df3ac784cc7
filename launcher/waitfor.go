package launcher

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// WaitFor names nodes to wait for.
type WaitFor struct {
	Name  string
	Count int
}

// A wait that takes longer than waitTold is logged, and again every waitToldAgain.
const (
	waitTold      = time.Second
	waitToldAgain = 30 * time.Second
)

// await waits until the nodes that the configuration names have joined.
func (n *node) await(ctx context.Context, cfg RunConfig) error {
	if cfg.WaitTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, cfg.WaitTimeout,
			fmt.Errorf("--wait-timeout %v is over", cfg.WaitTimeout))
		defer cancel()
	}
	for _, w := range cfg.WaitFor {
		if err := waitFor(ctx, n.member.client, w, cfg.Logger); err != nil {
			return err
		}
	}
	n.member.direct.Load().prepare(ctx, cfg.WaitFor)
	return nil
}

// waitFor waits for nodes with a name, and logs what it waits for.
func waitFor(ctx context.Context, c *coordinator.Client, w WaitFor,
	log *slog.Logger) error {
	waited := make(chan error, 1)
	go func() { waited <- c.Wait(ctx, w.Name, w.Count) }() // ends with ctx
	timer := time.NewTimer(waitTold)
	defer timer.Stop()
	told := false
	for {
		select {
		case err := <-waited:
			if told && err == nil {
				log.Warn(fmt.Sprintf("%s has joined", w.Name))
			}
			return err
		case <-timer.C:
			log.Warn(fmt.Sprintf("waiting for %s: %d of %d nodes have joined", w.Name,
				c.Count(w.Name), w.Count))
			told = true
			timer.Reset(waitToldAgain)
		}
	}
}
