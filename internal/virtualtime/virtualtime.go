// Package virtualtime runs tests in the virtual time of testing/synctest, and keeps them
// from crashing under the race detector.
//
// The race detector keeps one context for all timers of a synctest bubble, and no lock
// protects it. A channel timer that has expired runs in the goroutine that next looks at
// its channel. So timers of one bubble run on several threads at once, and the detector
// ends the program with "ThreadSanitizer: CHECK failed" (https://go.dev/issue/78156, seen
// with Go 1.26). With one processor only one timer runs at a time. The detector finds
// the same races: it compares the order that synchronisation gives, and not the time.
package virtualtime

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// processors counts the running tests, and holds what GOMAXPROCS was before the first.
var processors struct {
	sync.Mutex
	tests  int
	before int
}

// Test runs f in a bubble of its own, as [synctest.Test] does. Under the race detector,
// GOMAXPROCS is 1 while f runs.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if raceEnabled {
		useOneProcessor()
		defer useAllProcessors()
	}
	synctest.Test(t, f)
}

func useOneProcessor() {
	processors.Lock()
	defer processors.Unlock()
	if processors.tests == 0 {
		processors.before = runtime.GOMAXPROCS(1)
	}
	processors.tests++
}

func useAllProcessors() {
	processors.Lock()
	defer processors.Unlock()
	processors.tests--
	if processors.tests == 0 {
		runtime.GOMAXPROCS(processors.before)
	}
}
