package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadMemory reads all of b from a thread's memory at addr (process_vm_readv(2)). It
// fails with EFAULT if some of it cannot be read, with ESRCH if there is no such thread,
// and with EPERM or ENOSYS where the host forbids the call. b must not be empty.
func ReadMemory(tid int, addr uintptr, b []byte) error {
	local := [1]unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	remote := [1]unix.RemoteIovec{{Base: addr, Len: len(b)}}
	return processVM(unix.SYS_PROCESS_VM_READV, tid, local[:], remote[:], len(b))
}

// WriteMemory writes all of b1 and b2 to a thread's memory, at addr1 and addr2
// (process_vm_writev(2)). One of b1 and b2 may be empty. It fails as ReadMemory does;
// some may have been written then, as by the kernel's own copy_to_user.
func WriteMemory(tid int, addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	var local [2]unix.Iovec
	var remote [2]unix.RemoteIovec
	used := 0
	for i, b := range [...][]byte{b1, b2} {
		if len(b) == 0 {
			continue
		}
		local[used].Base = &b[0]
		local[used].SetLen(len(b))
		remote[used] = unix.RemoteIovec{Base: [...]uintptr{addr1, addr2}[i], Len: len(b)}
		used++
	}
	return processVM(unix.SYS_PROCESS_VM_WRITEV, tid, local[:used], remote[:used],
		len(b1)+len(b2))
}

// processVM is process_vm_readv(2) or process_vm_writev(2) of n bytes.
func processVM(nr uintptr, tid int, local []unix.Iovec, remote []unix.RemoteIovec,
	n int) error {
	got, _, errno := unix.RawSyscall6(nr, uintptr(tid),
		uintptr(unsafe.Pointer(unsafe.SliceData(local))), uintptr(len(local)),
		uintptr(unsafe.Pointer(unsafe.SliceData(remote))), uintptr(len(remote)), 0)
	if errno != 0 {
		return errno
	}
	if int(got) != n {
		return unix.EFAULT
	}
	return nil
}

// HasProcessVM returns nil if the host lets this process use process_vm_readv(2).
func HasProcessVM() error {
	var from, to [1]byte
	return ReadMemory(unix.Getpid(), uintptr(unsafe.Pointer(&from)), to[:])
}
