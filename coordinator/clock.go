package coordinator

import (
	"context"
	"errors"
	"time"
)

// A noNodeError is ErrNoNode with the coordinator's time of the answer.
type noNodeError struct{ at time.Time }

func (e *noNodeError) Error() string { return ErrNoNode.Error() }
func (e *noNodeError) Unwrap() error { return ErrNoNode }

// clockTries is how often Clock asks. The fastest answer counts.
const clockTries = 4

// Clock measures the offset of the coordinator's wall clock from this host's. The offset
// is correct within bound, since the coordinator read its clock at some time between
// question and answer (as in NTP, RFC 5905 section 8). Clock takes a few round trips.
func (c *Client) Clock(ctx context.Context) (offset, bound time.Duration, err error) {
	for range clockTries {
		asked := time.Now()
		err := c.signal(ctx, 0, nil) // no node has the id 0; the answer has the coordinator's time
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
