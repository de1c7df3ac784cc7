package sandbox

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// oldest is the first version of Linux that has all that is needed, see [Probe].
var oldest = version{5, 14}

// A version is major and minor of a kernel's release.
type version [2]int

func (v version) before(o version) bool {
	return v[0] < o[0] || v[0] == o[0] &&
		v[1] < o[1]
}

// CheckKernel fails if the kernel is too old for a program to run under its filter.
// There, the program would hang in its first call that is answered with a descriptor.
func CheckKernel() error { return checkKernel(Kernel()) }

func checkKernel(release string) error {
	var v version
	if n, _ := fmt.Sscanf(release, "%d.%d", &v[0], &v[1]); n == 2 && v.before(oldest) {
		return fmt.Errorf("this kernel, Linux %s, is too old: boxer needs Linux %d.%d or newer (SECCOMP_ADDFD_FLAG_SEND)",
			release, oldest[0], oldest[1])
	}
	return nil // also if the release says nothing
}

// Kernel returns the kernel's release, such as "6.1.0-18-amd64".
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return strings.TrimRight(string(u.Release[:]), "\x00")
}
