package syscalls

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Versions of Landlock's interface that have flags of landlock_restrict_self(2).
const (
	abiLog   = 7 // LANDLOCK_RESTRICT_SELF_LOG_*
	abiTSYNC = 8 // LANDLOCK_RESTRICT_SELF_TSYNC
)

// landlockABI returns the version of Landlock's interface, or 0 if there is none.
var landlockABI = sync.OnceValue(func() int {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
})
