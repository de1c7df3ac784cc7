package a

import "syscall"

func other() { syscall.Syscall(syscall.SYS_GETPID, 0, 0, 0) }
