package landlock

import (
	"sync"

	"golang.org/x/sys/unix"
)

// VersionTSYNC is the first version of Landlock's interface that has
// LANDLOCK_RESTRICT_SELF_TSYNC; versionLog has LANDLOCK_RESTRICT_SELF_LOG_*.
const (
	versionLog   = 7
	VersionTSYNC = 8
)

// Version returns the version of the kernel's Landlock interface, or 0 if it has none.
var Version = sync.OnceValue(func() int {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
})
