package sandbox

import "golang.org/x/sys/unix"

// The ABIs of linux/audit.h. There is no third.
const (
	nativeArch = unix.AUDIT_ARCH_AARCH64
	compatArch = unix.AUDIT_ARCH_ARM
	foreignBit = 0
)
