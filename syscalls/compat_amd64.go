package syscalls

import "golang.org/x/sys/unix"

// i386 (arch/x86/entry/syscalls/syscall_32.tbl). newuname is what is called
// uname elsewhere; the older unames are of before 1996.
const sysSocketcall = 102

// compatABI is what the 32-bit ABI is called.
const compatABI = "i386"

// wideArg is where an argument of 64 bits is that follows i others: in two registers, the
// lower half first.
func wideArg(i int) int { return i }

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

var socketcalls = map[uint32]socketcall{
	1:  {nr: unix.SYS_SOCKET, args: 3},
	2:  {nr: unix.SYS_BIND, args: 3},
	3:  {nr: unix.SYS_CONNECT, args: 3},
	4:  {nr: unix.SYS_LISTEN, args: 2},
	5:  {nr: unix.SYS_ACCEPT, args: 3},
	6:  {nr: unix.SYS_GETSOCKNAME, args: 3},
	7:  {nr: unix.SYS_GETPEERNAME, args: 3},
	11: {nr: unix.SYS_SENDTO, args: 6},
	12: {nr: unix.SYS_RECVFROM, args: 6},
	14: {nr: unix.SYS_SETSOCKOPT, args: 5},
	15: {nr: unix.SYS_GETSOCKOPT, args: 5},
	16: {nr: unix.SYS_SENDMSG, args: 3},
	17: {nr: unix.SYS_RECVMSG, args: 3},
	18: {nr: unix.SYS_ACCEPT4, args: 4},
	19: {nr: unix.SYS_RECVMMSG, args: 5},
	20: {nr: unix.SYS_SENDMMSG, args: 4},

	8:  {nr: unix.SYS_SOCKETPAIR, args: 4, only: true},
	9:  {nr: unix.SYS_SENDTO, args: 4, name: "send"},
	10: {nr: unix.SYS_RECVFROM, args: 4, name: "recv", only: true},
	13: {nr: unix.SYS_SHUTDOWN, args: 2, only: true},
}
