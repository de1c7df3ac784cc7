package syscalls

import "golang.org/x/sys/unix"

// i386 (arch/x86/entry/syscalls/syscall_32.tbl). newuname is what is called
// uname elsewhere; the older unames are of before 1996.
const sysSocketcall = 102

var compatNumbers = map[uintptr]uintptr{
	5:              unix.SYS_OPEN,
	54:             unix.SYS_IOCTL,
	122:            unix.SYS_UNAME,
	295:            unix.SYS_OPENAT,
	337:            unix.SYS_RECVMMSG,
	345:            unix.SYS_SENDMMSG,
	359:            unix.SYS_SOCKET,
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
	recvmmsgTime64: unix.SYS_RECVMMSG,
	425:            unix.SYS_IO_URING_SETUP,
	444:            unix.SYS_LANDLOCK_CREATE_RULESET,
	445:            unix.SYS_LANDLOCK_ADD_RULE,
	446:            unix.SYS_LANDLOCK_RESTRICT_SELF,
}

var socketcalls = map[uint32]socketcall{
	1:  {unix.SYS_SOCKET, 3},
	2:  {unix.SYS_BIND, 3},
	3:  {unix.SYS_CONNECT, 3},
	4:  {unix.SYS_LISTEN, 2},
	5:  {unix.SYS_ACCEPT, 3},
	6:  {unix.SYS_GETSOCKNAME, 3},
	7:  {unix.SYS_GETPEERNAME, 3},
	11: {unix.SYS_SENDTO, 6},
	12: {unix.SYS_RECVFROM, 6},
	14: {unix.SYS_SETSOCKOPT, 5},
	15: {unix.SYS_GETSOCKOPT, 5},
	16: {unix.SYS_SENDMSG, 3},
	17: {unix.SYS_RECVMSG, 3},
	18: {unix.SYS_ACCEPT4, 4},
	19: {unix.SYS_RECVMMSG, 5},
	20: {unix.SYS_SENDMMSG, 4},
}
