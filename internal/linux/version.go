package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A Version is major and minor of a kernel's release.
type Version [2]int

// Before reports whether v is older than o.
func (v Version) Before(o Version) bool {
	return v[0] < o[0] || v[0] == o[0] && v[1] < o[1]
}

// String returns the version as in "6.1".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

// ParseVersion reads the version at the beginning of a release, such as "6.1.0-18-amd64".
func ParseVersion(release string) (v Version, ok bool) {
	n, _ := fmt.Sscanf(release, "%d.%d", &v[0], &v[1])
	return v, n == len(v)
}

// Release returns the kernel's release (uname(2)), such as "6.1.0-18-amd64".
func Release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
