package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

func TestDeparted(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		var d departed
		has := func(name string, want bool) {
			t.Helper()
			if got := d.has(name, time.Now()); got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		d.add("a", time.Now())
		time.Sleep(departedTTL / 2)
		d.add("b", time.Now())
		d.add("b", time.Now()) // it came back in between
		has("a", true)
		time.Sleep(departedTTL)
		has("a", false)
		has("b", true)
		has("c", false)
		d.add("c", time.Now())
		if len(d.since) != 2 {
			t.Errorf("a is still there: %v", d.since)
		}
		d.add("b", time.Now())
		time.Sleep(departedTTL / 2)
		d.add("d", time.Now())
		has("b", true) // its second time counts
		time.Sleep(2 * departedTTL)
		d.add("e", time.Now())
		if len(d.since) != 1 || len(d.queue)-d.first != 1 {
			t.Errorf("%d names, %d departures, want what left just now", len(d.since),
				len(d.queue)-d.first)
		}
	})
}

// Memory is bounded, however many leave.
func TestDepartedBound(t *testing.T) {
	var d departed
	now := time.Now()
	for i := range 3 * maxDeparted {
		d.add(fmt.Sprint(i), now)
	}
	if len(d.since) != maxDeparted || cap(d.queue) > 8*maxDeparted {
		t.Errorf("%d names, room for %d departures", len(d.since), cap(d.queue))
	}
	if d.has("0", now) || !d.has(fmt.Sprint(3*maxDeparted-1), now) {
		t.Error("the oldest one stayed, or the newest one is gone")
	}
}
