package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// readMemory fills all of b or fails with EFAULT. process_vm_readv(2) does this in one
// call. If the host forbids that call, readMemory reads /proc/PID/mem.
func readMemory(tid int, addr uintptr, b []byte) error {
	err := linux.ReadMemory(tid, addr, b)
	if err == nil || errors.Is(err, unix.EFAULT) {
		return err
	}
	return throughProc(tid, os.O_RDONLY, err, func(f *os.File) error {
		_, err := f.ReadAt(b, int64(addr))
		return err
	})
}

// writeMemory writes all of b1 and b2, of which one may be empty, or fails with EFAULT.
// On failure it may have written a part, as the kernel's copy_to_user may.
func writeMemory(tid int, addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	err := linux.WriteMemory(tid, addr1, b1, addr2, b2)
	if err == nil || errors.Is(err, unix.EFAULT) {
		return err
	}
	// This differs from process_vm_writev: /proc/PID/mem also writes to pages that are
	// read-only for the program. So it is only the fallback.
	return throughProc(tid, os.O_RDWR, err, func(f *os.File) error {
		if _, err := f.WriteAt(b1, int64(addr1)); err != nil {
			return err
		}
		_, err := f.WriteAt(b2, int64(addr2))
		return err
	})
}

// throughProc calls f on /proc/TID/mem. first is the error of the direct system call.
func throughProc(tid, flag int, first error, f func(*os.File) error) error {
	if errors.Is(first, unix.ESRCH) {
		return ErrGone
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", tid), flag, 0)
	if err != nil {
		return fmt.Errorf("memory of thread %d: %w; then %w", tid, first, err)
	}
	defer mem.Close()
	if err := f(mem); errors.Is(err, unix.EIO) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) {
		return unix.EFAULT
	} else if err != nil {
		return fmt.Errorf("memory of thread %d: %w", tid, err)
	}
	return nil
}
