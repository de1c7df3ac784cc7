package abi

import "golang.org/x/sys/unix"

// SysSocketcall is the number of socketcall(2) in the 32-bit ABI, i386
// (arch/x86/entry/syscalls/syscall_32.tbl).
const SysSocketcall = 102

// Socketcalls has the calls that socketcall(2) makes, by its first argument
// (linux/net.h).
var Socketcalls = map[uint32]Socketcall{
	1:  {Nr: unix.SYS_SOCKET, Args: 3},
	2:  {Nr: unix.SYS_BIND, Args: 3},
	3:  {Nr: unix.SYS_CONNECT, Args: 3},
	4:  {Nr: unix.SYS_LISTEN, Args: 2},
	5:  {Nr: unix.SYS_ACCEPT, Args: 3},
	6:  {Nr: unix.SYS_GETSOCKNAME, Args: 3},
	7:  {Nr: unix.SYS_GETPEERNAME, Args: 3},
	8:  {Nr: unix.SYS_SOCKETPAIR, Args: 4},
	9:  {Nr: unix.SYS_SENDTO, Args: 4, Name: "send"},
	10: {Nr: unix.SYS_RECVFROM, Args: 4, Name: "recv"},
	11: {Nr: unix.SYS_SENDTO, Args: 6},
	12: {Nr: unix.SYS_RECVFROM, Args: 6},
	13: {Nr: unix.SYS_SHUTDOWN, Args: 2},
	14: {Nr: unix.SYS_SETSOCKOPT, Args: 5},
	15: {Nr: unix.SYS_GETSOCKOPT, Args: 5},
	16: {Nr: unix.SYS_SENDMSG, Args: 3},
	17: {Nr: unix.SYS_RECVMSG, Args: 3},
	18: {Nr: unix.SYS_ACCEPT4, Args: 4},
	19: {Nr: unix.SYS_RECVMMSG, Args: 5},
	20: {Nr: unix.SYS_SENDMMSG, Args: 4},
}
