package rewrite

import (
	"errors"
	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// readMemory reads all of b or fails with EFAULT (process_vm_readv(2)).
func readMemory(tid int, addr uintptr, b []byte) error {
	return gone(linux.ReadMemory(tid, addr, b))
}

// writeMemory writes all of b1 and b2, of which one may be empty, or fails with EFAULT.
// On failure it may have written a part, as the kernel's copy_to_user may.
func writeMemory(tid int, addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	return gone(linux.WriteMemory(tid, addr1, b1, addr2, b2))
}

func gone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return err
}
