package launcher

// #include <stdint.h>
// extern uint64_t boxer_original_mask, boxer_ignored;
import "C"

import (
	"os/signal"

	"golang.org/x/sys/unix"
)

// originalMask is the signal mask that boxer was started with.
func originalMask() (s unix.Sigset_t) {
	s.Val[0] = uint64(C.boxer_original_mask)
	return s
}

// keepIgnored ignores what boxer was started with ignored, so that a program
// that this process starts inherits it (nohup(1)). Go's runtime has put
// handlers of its own in their places.
func keepIgnored() {
	for n := 1; n <= 64; n++ {
		if uint64(C.boxer_ignored)&(1<<(n-1)) != 0 {
			signal.Ignore(unix.Signal(n))
		}
	}
}
