package syscalls

import "golang.org/x/sys/unix"

// compatNumbers maps the numbers of i386 (arch/x86/entry/syscalls/syscall_32.tbl) to
// native ones. newuname there is what is called uname elsewhere; the older unames are
// from before 1996.
var compatNumbers = map[uintptr]uintptr{
	5:              unix.SYS_OPEN,
	54:             unix.SYS_IOCTL,
	75:             unix.SYS_SETRLIMIT,
	122:            unix.SYS_UNAME,
	295:            unix.SYS_OPENAT,
	337:            unix.SYS_RECVMMSG,
	340:            unix.SYS_PRLIMIT64,
	345:            unix.SYS_SENDMMSG,
	359:            unix.SYS_SOCKET,
	360:            unix.SYS_SOCKETPAIR,
	361:            unix.SYS_BIND,
	362:            unix.SYS_CONNECT,
	363:            unix.SYS_LISTEN,
	364:            unix.SYS_ACCEPT4,
	365:            unix.SYS_GETSOCKOPT,
	366:            unix.SYS_SETSOCKOPT,
	367:            unix.SYS_GETSOCKNAME,
	368:            unix.SYS_GETPEERNAME,
	369:            unix.SYS_SENDTO,
	370:            unix.SYS_SENDMSG,
	371:            unix.SYS_RECVFROM,
	372:            unix.SYS_RECVMSG,
	373:            unix.SYS_SHUTDOWN,
	recvmmsgTime64: unix.SYS_RECVMMSG,
	425:            unix.SYS_IO_URING_SETUP,
	444:            unix.SYS_LANDLOCK_CREATE_RULESET,
	445:            unix.SYS_LANDLOCK_ADD_RULE,
	446:            unix.SYS_LANDLOCK_RESTRICT_SELF,
}
