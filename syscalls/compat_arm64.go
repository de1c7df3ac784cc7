package syscalls

import "golang.org/x/sys/unix"

// compatNumbers maps the numbers of 32-bit ARM, EABI (arch/arm/tools/syscall.tbl), to
// native ones.
var compatNumbers = map[uintptr]uintptr{
	54:             unix.SYS_IOCTL,
	75:             unix.SYS_SETRLIMIT,
	122:            unix.SYS_UNAME,
	281:            unix.SYS_SOCKET,
	282:            unix.SYS_BIND,
	283:            unix.SYS_CONNECT,
	284:            unix.SYS_LISTEN,
	285:            unix.SYS_ACCEPT,
	286:            unix.SYS_GETSOCKNAME,
	287:            unix.SYS_GETPEERNAME,
	288:            unix.SYS_SOCKETPAIR,
	290:            unix.SYS_SENDTO,
	292:            unix.SYS_RECVFROM,
	293:            unix.SYS_SHUTDOWN,
	294:            unix.SYS_SETSOCKOPT,
	295:            unix.SYS_GETSOCKOPT,
	296:            unix.SYS_SENDMSG,
	297:            unix.SYS_RECVMSG,
	322:            unix.SYS_OPENAT,
	365:            unix.SYS_RECVMMSG,
	366:            unix.SYS_ACCEPT4,
	369:            unix.SYS_PRLIMIT64,
	374:            unix.SYS_SENDMMSG,
	recvmmsgTime64: unix.SYS_RECVMMSG,
	425:            unix.SYS_IO_URING_SETUP,
	444:            unix.SYS_LANDLOCK_CREATE_RULESET,
	445:            unix.SYS_LANDLOCK_ADD_RULE,
	446:            unix.SYS_LANDLOCK_RESTRICT_SELF,
}
