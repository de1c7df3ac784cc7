//go:build race

package trace

// raceEnabled says that allocations are not counted: sync.Pool forgets at random under
// the race detector.
const raceEnabled = true
