package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// readMemory reads all of b or fails with EFAULT. process_vm_readv(2) does it
// in one call; where a host forbids that call, /proc/PID/mem serves.
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

// writeMemory writes all of b1 and b2, of which one may be empty, or fails with
// EFAULT; some may have been written then, as by the kernel's own copy_to_user.
func writeMemory(tid int, addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	err := linux.WriteMemory(tid, addr1, b1, addr2, b2)
	if err == nil || errors.Is(err, unix.EFAULT) {
		return err
	}
	// Not the same as process_vm_writev: /proc/PID/mem also writes to pages
	// that are read-only to the program. It is the fallback only.
	return throughProc(tid, os.O_RDWR, err, func(f *os.File) error {
		if _, err := f.WriteAt(b1, int64(addr1)); err != nil {
			return err
		}
		_, err := f.WriteAt(b2, int64(addr2))
		return err
	})
}

// throughProc runs f on /proc/TID/mem. first is the error of the direct way.
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
