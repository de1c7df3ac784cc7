package sandbox

import (
	"fmt"

	"github.com/boxer-sandbox/boxer/internal/linux"
)

// oldest is the first version of Linux that has all that is needed, see [Probe].
var oldest = linux.Version{5, 14}

// CheckKernel fails if the kernel is too old for a program to run under its filter.
// There, the program would hang in its first call that is answered with a descriptor.
func CheckKernel() error { return checkKernel(Kernel()) }

func checkKernel(release string) error {
	if v, ok := linux.ParseVersion(release); ok && v.Before(oldest) {
		return fmt.Errorf("this kernel, Linux %s, is too old: boxer needs Linux %v or newer (SECCOMP_ADDFD_FLAG_SEND)",
			release, oldest)
	}
	return nil // also if the release says nothing
}

// Kernel returns the kernel's release, such as "6.1.0-18-amd64".
func Kernel() string { return linux.Release() }
