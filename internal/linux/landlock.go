package linux

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Versions of Landlock's interface that have flags of landlock_restrict_self(2).
const (
	LandlockABILog   = 7 // LANDLOCK_RESTRICT_SELF_LOG_*
	LandlockABITSYNC = 8 // LANDLOCK_RESTRICT_SELF_TSYNC
)

// LandlockABI returns the version of Landlock's interface (landlock(7)), or 0 if there is
// none.
var LandlockABI = sync.OnceValue(func() int {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
})

// LandlockRestrictSelf is landlock_restrict_self(2). Without LANDLOCK_RESTRICT_SELF_TSYNC
// it restricts the calling thread only.
func LandlockRestrictSelf(ruleset int, flags uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), flags, 0)
	return errnoOrNil(errno)
}
