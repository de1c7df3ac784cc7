package virtualtime

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestTimers has many goroutines wait for channel timers that expire at the same moment.
// Under the race detector, with synctest.Test in place of Test, most runs crash.
func TestTimers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for range 20 {
		Test(t, func(t *testing.T) {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					for range 100 {
						a := time.NewTimer(time.Millisecond)
						b := time.NewTimer(time.Millisecond)
						<-a.C
						<-b.C // it has expired, and runs in this goroutine
					}
				})
			}
			began := time.Now()
			all.Wait()
			if d := time.Since(began); d != 100*time.Millisecond {
				t.Errorf("it took %v of virtual time", d)
			}
		})
	}
}

// TestProcessors has two tests overlap: the number of processors comes back after the
// last one.
func TestProcessors(t *testing.T) {
	const before = 3
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(before))
	within := before
	if raceEnabled {
		within = 1
	}
	t.Run("overlapping", func(t *testing.T) {
		var both sync.WaitGroup
		both.Add(2)
		for range 2 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				Test(t, func(t *testing.T) {
					if n := runtime.GOMAXPROCS(0); n != within {
						t.Errorf("GOMAXPROCS is %d within a test, want %d", n, within)
					}
				})
				both.Done()
				both.Wait()
			})
		}
	})
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("GOMAXPROCS is %d after the tests, want %d", n, before)
	}
}
