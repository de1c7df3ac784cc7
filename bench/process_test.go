package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// A contender that has stalled ends its order, not the benchmark.
func TestOrderWithin(t *testing.T) {
	defer func(d time.Duration) { orderWithin = d }(orderWithin)
	orderWithin = 50 * time.Millisecond
	p, err := startProcess("stalled", exec.Command("sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if _, err := p.order(meter.Order{Measure: meter.Bulk}); err == nil ||
		!strings.Contains(err.Error(), "stalled: no answer") {
		t.Errorf("got %v, want an error that says so", err)
	}
}
