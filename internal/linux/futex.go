package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	futexWait = 0
	futexWake = 1
)

// FutexWait sleeps until another thread wakes the word p (futex(2)) or a signal arrives.
// It returns at once if *p is not v. Processes may share the word's memory.
func FutexWait(p *uint32, v uint32) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexWait, uintptr(v), 0, 0, 0)
}

// FutexWake wakes one thread that sleeps at p.
func FutexWake(p *uint32) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexWake, 1, 0, 0, 0)
}
