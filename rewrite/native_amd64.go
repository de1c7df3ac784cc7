package rewrite

import (
	"debug/elf"
	_ "embed"

	"golang.org/x/sys/unix"
)

//go:embed inside/inside_amd64.bin
var inside []byte

// native is this machine.
var native = target{
	machine: elf.EM_X86_64,
	loader:  inside,
	mechanisms: []uintptr{unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_MMAP,
		unix.SYS_READLINK, unix.SYS_READLINKAT},
	names: []uintptr{unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME},
}
