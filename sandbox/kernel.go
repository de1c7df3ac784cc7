package sandbox

import (
	"fmt"

	"github.com/boxer-sandbox/boxer/internal/linux"
)

// oldest is the first version of Linux with all needed features: see [Probe].
var oldest = linux.Version{5, 14}

// CheckKernel fails if the kernel is too old for a program to run under its filter. From
// Linux 5.9 to 5.13, the supervisor installs a descriptor in two steps:
// SECCOMP_IOCTL_NOTIF_ADDFD, then the answer. A signal between the two leaves the program
// with a descriptor that it does not know of (Linux commit 0ae71c7720e3).
func CheckKernel() error { return checkKernel(Kernel()) }

func checkKernel(release string) error {
	if v, ok := linux.ParseVersion(release); ok && v.Before(oldest) {
		return fmt.Errorf("this kernel, Linux %s, is too old: filters need Linux %v or newer "+
			"(SECCOMP_ADDFD_FLAG_SEND); without a filter, --interposer rewrite may do",
			release, oldest)
	}
	return nil // also if the release cannot be parsed
}

// Kernel returns the kernel's release, such as "6.1.0-18-amd64".
func Kernel() string { return linux.Release() }
