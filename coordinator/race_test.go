//go:build race

package coordinator

// raceEnabled says that the race detector is on, under which all takes longer.
const raceEnabled = true
