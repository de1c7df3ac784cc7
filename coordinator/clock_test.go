package coordinator

import (
	"testing"
	"time"
)

// TestClock: both ends have the same clock here, so the offset is within its bound of 0.
func TestClock(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		g := mustEnter(t, newLab(t, ServerConfig{}).url(t), "a")
		offset, bound, err := g.Clock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if bound <= 0 || bound > 10*time.Second || offset.Abs() > bound {
			t.Errorf("the clocks differ by %v, within %v; want 0 within the bound", offset, bound)
		}
	})
}
