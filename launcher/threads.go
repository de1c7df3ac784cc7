package launcher

import (
	"os"
	"runtime"
)

// ShareProcessors leaves half of the processors to the program: Go's scheduler
// wakes a thread for each goroutine that becomes ready while one of its
// processors is idle, mostly for nothing where a message passes through one goroutine
// after the other. docs/performance.md has what it costs. GOMAXPROCS in the
// environment overrides it.
func ShareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}
