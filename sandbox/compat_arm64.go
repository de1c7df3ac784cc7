package sandbox

import (
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// The ABIs of linux/audit.h. There is no third.
const (
	nativeArch = unix.AUDIT_ARCH_AARCH64
	compatArch = unix.AUDIT_ARCH_ARM
	foreignBit = 0
)

// compatScmpArch is what libseccomp calls the 32-bit ABI.
const compatScmpArch = seccomp.ArchARM
