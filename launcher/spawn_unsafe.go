package launcher

// #include <stdlib.h>
// #include "spawn.h"
import "C"

import (
	"runtime"
	"syscall"
	"unsafe"
)

// spawn works as syscall.ForkExec for a program that needs its own pid in its
// environment, in the variables named by own; env has none of them. The program inherits
// this process's descriptors and has mask as its signal mask. spawn fails with a
// syscall.Errno.
func spawn(path string, argv, env, own []string, mask uint64) (int, error) {
	var memory cMemory
	defer memory.free()
	var places, vars []*C.char
	for _, v := range env {
		vars = append(vars, memory.string(v))
	}
	for _, name := range own {
		v := memory.string(name + "=" + string(make([]byte, C.BOXER_PID_ROOM)))
		vars = append(vars, v)
		places = append(places, (*C.char)(unsafe.Add(unsafe.Pointer(v), len(name)+1)))
	}
	var args []*C.char
	for _, a := range argv {
		args = append(args, memory.string(a))
	}
	cPath, cArgs, cVars, cPlaces := memory.string(path), memory.array(args),
		memory.array(vars), memory.array(places)
	runtime.LockOSThread() // the child inherits this thread's filter
	defer runtime.UnlockOSThread()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	pid, err := C.boxer_spawn(cPath, cArgs, cVars, cPlaces, C.size_t(len(places)),
		C.uint64_t(mask))
	if pid < 0 {
		return 0, err
	}
	return int(pid), nil
}

// A cMemory is memory for arguments of C code. The caller frees it.
type cMemory []unsafe.Pointer

func (m *cMemory) string(s string) *C.char {
	p := C.CString(s)
	*m = append(*m, unsafe.Pointer(p))
	return p
}

// array returns an array that ends with a null pointer.
func (m *cMemory) array(elems []*C.char) **C.char {
	p := C.calloc(C.size_t(len(elems)+1), C.size_t(unsafe.Sizeof((*C.char)(nil))))
	*m = append(*m, p)
	copy(unsafe.Slice((**C.char)(p), len(elems)), elems)
	return (**C.char)(p)
}

func (m *cMemory) free() {
	for _, p := range *m {
		C.free(p)
	}
}
