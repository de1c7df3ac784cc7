package launcher

import (
	"os"
	"runtime"
)

// ShareProcessors leaves half of the processors to the program. Go's scheduler wakes a
// thread for each goroutine that becomes ready while a processor is idle. That is mostly
// wasted where one goroutine after the other handles a message; docs/performance.md has
// the cost. GOMAXPROCS in the environment overrides ShareProcessors.
func ShareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}
