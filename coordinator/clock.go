package coordinator

import (
	"context"
	"errors"
	"time"
)

// noNodeError is ErrNoNode, with the coordinator's clock when it said so.
type noNodeError struct{ at time.Time }

func (e *noNodeError) Error() string { return ErrNoNode.Error() }
func (e *noNodeError) Unwrap() error { return ErrNoNode }

// clockTries is how often Clock asks: the fastest answer counts.
const clockTries = 4

// Clock measures how the coordinator's wall clock differs from this host's:
// offset is to be added to the latter, and is true within bound, since the
// coordinator looked at its clock at some time between question and answer (as
// in NTP, RFC 5905 section 8). It takes a few round trips to the coordinator.
func (c *Client) Clock(ctx context.Context) (offset, bound time.Duration, err error) {
	for range clockTries {
		asked := time.Now()
		err := c.signal(ctx, 0, nil) // nobody has the id 0: the answer says when that was
		took := time.Since(asked)
		var told *noNodeError
		if !errors.As(err, &told) {
			return 0, 0, err
		}
		if half := took/2 + 1; bound == 0 || half < bound {
			offset, bound = told.at.Sub(asked.Round(0).Add(took/2)), half
		}
	}
	return offset, bound, nil
}
