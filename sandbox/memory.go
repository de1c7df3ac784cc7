package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readMemory reads all of b or fails with EFAULT. process_vm_readv(2) does it
// in one call; where a host forbids that call, /proc/PID/mem serves.
func readMemory(tid int, addr uintptr, b []byte) error {
	local := [1]unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	remote := [1]unix.RemoteIovec{{Base: addr, Len: len(b)}}
	n, err := processVM(unix.SYS_PROCESS_VM_READV, tid, local[:], remote[:])
	if err == nil && n == len(b) {
		return nil
	}
	if err == nil || err == unix.EFAULT {
		return unix.EFAULT
	}
	return throughProc(tid, os.O_RDONLY, err, func(f *os.File) error {
		_, err := f.ReadAt(b, int64(addr))
		return err
	})
}

// writeMemory writes all of b1 and b2, of which one may be empty, or fails with
// EFAULT; some may have been written then, as by the kernel's own copy_to_user.
func writeMemory(tid int, addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	var local [2]unix.Iovec
	var remote [2]unix.RemoteIovec
	used := 0
	for _, part := range [...]struct {
		addr uintptr
		b    []byte
	}{{addr1, b1}, {addr2, b2}} {
		if len(part.b) == 0 {
			continue
		}
		local[used].Base = &part.b[0]
		local[used].SetLen(len(part.b))
		remote[used] = unix.RemoteIovec{Base: part.addr, Len: len(part.b)}
		used++
	}
	n, err := processVM(unix.SYS_PROCESS_VM_WRITEV, tid, local[:used], remote[:used])
	if err == nil && n == len(b1)+len(b2) {
		return nil
	}
	if err == nil || err == unix.EFAULT {
		return unix.EFAULT
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

// processVM is process_vm_readv(2) or process_vm_writev(2).
func processVM(nr uintptr, tid int, local []unix.Iovec, remote []unix.RemoteIovec) (int, error) {
	n, _, errno := unix.RawSyscall6(nr, uintptr(tid),
		uintptr(unsafe.Pointer(unsafe.SliceData(local))), uintptr(len(local)),
		uintptr(unsafe.Pointer(unsafe.SliceData(remote))), uintptr(len(remote)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// throughProc runs f on /proc/TID/mem. first is the error of the direct way.
func throughProc(tid, flag int, first error, f func(*os.File) error) error {
	if first == unix.ESRCH {
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
