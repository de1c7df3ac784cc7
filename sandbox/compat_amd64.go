package sandbox

import (
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// The ABIs of linux/audit.h, and the bit of x32's call numbers
// (__X32_SYSCALL_BIT). x32's calls fail with ENOSYS, as on most kernels, which
// are built without it: they would go around the filter.
const (
	nativeArch = unix.AUDIT_ARCH_X86_64
	compatArch = unix.AUDIT_ARCH_I386
	foreignBit = 0x40000000
)

// compatScmpArch is what libseccomp calls the 32-bit ABI.
const compatScmpArch = seccomp.ArchX86
