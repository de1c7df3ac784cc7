// System calls, and the numbers that the two machines do not share.
#pragma once
#if defined(__x86_64__)
static inline s64 sys6(s64 n, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
	register s64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	s64 r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return r;
}
enum {
	SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_rt_sigprocmask = 14, SYS_close = 3, SYS_fcntl = 72, SYS_getpid = 39,
	SYS_socket = 41, SYS_connect = 42, SYS_sendmsg = 46, SYS_recvmsg = 47, SYS_execve = 59, SYS_prctl = 157, SYS_gettid = 186,
	SYS_tkill = 200, SYS_futex = 202, SYS_exit_group = 231, SYS_openat = 257, SYS_readlink = 89, SYS_readlinkat = 267,
	SYS_faccessat = 269, SYS_faccessat2 = 439, SYS_execveat = 322, SYS_write = 1, SYS_process_vm_readv = 310, SYS_brk = 12, SYS_prlimit64 = 302,
	SYS_dup3 = 292, SYS_fstat = 5, SYS_pidfd_open = 434, SYS_pidfd_getfd = 438, SYS_mincore = 27, SYS_mremap = 25,
	SYS_clock_gettime = 228, SYS_getsockname = 51, SYS_getpeername = 52, SYS_getsockopt = 55,
};
#elif defined(__aarch64__)
static inline s64 sys6(s64 n, s64 a, s64 b, s64 c, s64 d, s64 e, s64 f)
{
	register s64 x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d,
		x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
enum {
	SYS_mmap = 222, SYS_mprotect = 226, SYS_munmap = 215, SYS_rt_sigprocmask = 135, SYS_close = 57, SYS_fcntl = 25,
	SYS_getpid = 172, SYS_socket = 198, SYS_connect = 203, SYS_sendmsg = 211, SYS_recvmsg = 212, SYS_execve = 221,
	SYS_prctl = 167, SYS_gettid = 178, SYS_tkill = 130, SYS_futex = 98, SYS_exit_group = 94, SYS_openat = 56,
	SYS_readlink = -1, SYS_readlinkat = 78, SYS_faccessat = 48, SYS_faccessat2 = 439, SYS_execveat = 281, SYS_write = 64,
	SYS_process_vm_readv = 270, SYS_brk = 214, SYS_prlimit64 = 261, SYS_dup3 = 24,
	SYS_fstat = 80, SYS_pidfd_open = 434, SYS_pidfd_getfd = 438, SYS_mincore = 232, SYS_mremap = 216,
	SYS_clock_gettime = 113, SYS_getsockname = 204, SYS_getpeername = 205, SYS_getsockopt = 209,
};
#endif
#define sys0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a) sys6(n, (s64)(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b) sys6(n, (s64)(a), (s64)(b), 0, 0, 0, 0)
#define sys3(n, a, b, c) sys6(n, (s64)(a), (s64)(b), (s64)(c), 0, 0, 0)
#define sys4(n, a, b, c, d) sys6(n, (s64)(a), (s64)(b), (s64)(c), (s64)(d), 0, 0)
#define sys5(n, a, b, c, d, e) sys6(n, (s64)(a), (s64)(b), (s64)(c), (s64)(d), (s64)(e), 0)

enum { EINTR = 4, ENOENT = 2, ESRCH = 3, EACCES = 13, EAGAIN = 11, ENOSYS = 38, EINVAL = 22, EIO = 5, EBUSY = 16, EFAULT = 14, ENOMEM = 12, EMFILE = 24, ENOTCONN = 107, ECONNREFUSED = 111, RLIMIT_NOFILE = 7 };
enum {
	PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4,
	MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MAP_FIXED_NOREPLACE = 0x100000,
	MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, FUTEX_WAIT = 0, FUTEX_WAKE = 1,
	CLOCK_MONOTONIC = 1, AF_UNIX = 1, SOCK_SEQPACKET = 5, SOL_SOCKET = 1, SCM_RIGHTS = 1, SO_COOKIE = 57, MSG_CMSG_CLOEXEC = 0x40000000, MSG_NOSIGNAL = 0x4000,
	O_CLOEXEC = 02000000, AT_FDCWD = -100, AT_EMPTY_PATH = 0x1000, AT_EACCESS = 0x200, AT_SYMLINK_NOFOLLOW = 0x100, X_OK = 1,
	F_DUPFD = 0, F_DUPFD_CLOEXEC = 1030, SIG_BLOCK = 0, SIG_SETMASK = 2, PR_SET_NAME = 15, PR_SET_MM = 35, PR_SET_MM_MAP = 14,
};
#if defined(__aarch64__)
enum { O_NOFOLLOW = 0100000 };
#else
enum { O_NOFOLLOW = 0400000 };
#endif
