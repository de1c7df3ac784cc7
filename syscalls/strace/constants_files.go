package strace

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Names of constants of calls outside the network.

// oLargeFile is the kernel's O_LARGEFILE on x86 and on ARM, which musl and 32-bit
// programs set. Go's constant is 0 where the kernel sets it by itself.
const oLargeFile = 0o100000 | 0o400000

// openFlags are of open(2), beside the access mode.
var openFlags = names{"O_???", []constant{
	{unix.O_CREAT, "O_CREAT"},
	{unix.O_EXCL, "O_EXCL"},
	{unix.O_NOCTTY, "O_NOCTTY"},
	{unix.O_TRUNC, "O_TRUNC"},
	{unix.O_APPEND, "O_APPEND"},
	{unix.O_NONBLOCK, "O_NONBLOCK"},
	{unix.O_SYNC, "O_SYNC"},
	{unix.O_DSYNC, "O_DSYNC"},
	{unix.O_DIRECT, "O_DIRECT"},
	{unix.O_TMPFILE, "O_TMPFILE"},
	{unix.O_DIRECTORY, "O_DIRECTORY"},
	{unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_NOATIME, "O_NOATIME"},
	{unix.O_CLOEXEC, "O_CLOEXEC"},
	{unix.O_PATH, "O_PATH"},
	{oLargeFile &^ unix.O_NOFOLLOW, "O_LARGEFILE"},
}}

// accessModes are of open(2).
var accessModes = names{"O_???", []constant{
	{unix.O_RDONLY, "O_RDONLY"},
	{unix.O_WRONLY, "O_WRONLY"},
	{unix.O_RDWR, "O_RDWR"},
	{unix.O_ACCMODE, "O_ACCMODE"},
}}

// atFlags are of openat(2) and its like.
var atFlags = names{"AT_???", []constant{
	{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
	{unix.AT_REMOVEDIR, "AT_REMOVEDIR"},
	{unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"},
	{unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
	{unix.AT_STATX_FORCE_SYNC, "AT_STATX_FORCE_SYNC"},
	{unix.AT_STATX_DONT_SYNC, "AT_STATX_DONT_SYNC"},
}}

// accessChecks are of access(2).
var accessChecks = names{"?_OK", []constant{
	{unix.F_OK, "F_OK"},
	{0x1, "X_OK"},
	{0x2, "W_OK"},
	{0x4, "R_OK"},
}}

// fcntlCommands are of fcntl(2).
var fcntlCommands = names{"F_???", []constant{
	{unix.F_DUPFD, "F_DUPFD"},
	{unix.F_GETFD, "F_GETFD"},
	{unix.F_SETFD, "F_SETFD"},
	{unix.F_GETFL, "F_GETFL"},
	{unix.F_SETFL, "F_SETFL"},
	{unix.F_GETLK, "F_GETLK"},
	{unix.F_SETLK, "F_SETLK"},
	{unix.F_SETLKW, "F_SETLKW"},
	{unix.F_SETOWN, "F_SETOWN"},
	{unix.F_GETOWN, "F_GETOWN"},
	{unix.F_SETSIG, "F_SETSIG"},
	{unix.F_GETSIG, "F_GETSIG"},
	{unix.F_SETOWN_EX, "F_SETOWN_EX"},
	{unix.F_GETOWN_EX, "F_GETOWN_EX"},
	{unix.F_OFD_GETLK, "F_OFD_GETLK"},
	{unix.F_OFD_SETLK, "F_OFD_SETLK"},
	{unix.F_OFD_SETLKW, "F_OFD_SETLKW"},
	{unix.F_SETLEASE, "F_SETLEASE"},
	{unix.F_GETLEASE, "F_GETLEASE"},
	{unix.F_NOTIFY, "F_NOTIFY"},
	{unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"},
	{unix.F_SETPIPE_SZ, "F_SETPIPE_SZ"},
	{unix.F_GETPIPE_SZ, "F_GETPIPE_SZ"},
	{unix.F_ADD_SEALS, "F_ADD_SEALS"},
	{unix.F_GET_SEALS, "F_GET_SEALS"},
}}

// seekWhences are of lseek(2).
var seekWhences = names{"SEEK_???", []constant{
	{unix.SEEK_SET, "SEEK_SET"},
	{unix.SEEK_CUR, "SEEK_CUR"},
	{unix.SEEK_END, "SEEK_END"},
	{unix.SEEK_DATA, "SEEK_DATA"},
	{unix.SEEK_HOLE, "SEEK_HOLE"},
}}

// protections are of mmap(2).
var protections = names{"PROT_???", []constant{
	{unix.PROT_NONE, "PROT_NONE"},
	{unix.PROT_READ, "PROT_READ"},
	{unix.PROT_WRITE, "PROT_WRITE"},
	{unix.PROT_EXEC, "PROT_EXEC"},
	{unix.PROT_GROWSDOWN, "PROT_GROWSDOWN"},
	{unix.PROT_GROWSUP, "PROT_GROWSUP"},
}}

// mapFlags are of mmap(2).
var mapFlags = names{"MAP_???", []constant{
	{unix.MAP_SHARED, "MAP_SHARED"},
	{unix.MAP_PRIVATE, "MAP_PRIVATE"},
	{unix.MAP_FIXED, "MAP_FIXED"},
	{unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"},
	{0x40, "MAP_32BIT"},
	{unix.MAP_GROWSDOWN, "MAP_GROWSDOWN"},
	{unix.MAP_DENYWRITE, "MAP_DENYWRITE"},
	{unix.MAP_EXECUTABLE, "MAP_EXECUTABLE"},
	{unix.MAP_LOCKED, "MAP_LOCKED"},
	{unix.MAP_NORESERVE, "MAP_NORESERVE"},
	{unix.MAP_POPULATE, "MAP_POPULATE"},
	{unix.MAP_NONBLOCK, "MAP_NONBLOCK"},
	{unix.MAP_STACK, "MAP_STACK"},
	{unix.MAP_HUGETLB, "MAP_HUGETLB"},
	{unix.MAP_SYNC, "MAP_SYNC"},
	{unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
}}

// advices are of madvise(2).
var advices = names{"MADV_???", []constant{
	{unix.MADV_NORMAL, "MADV_NORMAL"},
	{unix.MADV_RANDOM, "MADV_RANDOM"},
	{unix.MADV_SEQUENTIAL, "MADV_SEQUENTIAL"},
	{unix.MADV_WILLNEED, "MADV_WILLNEED"},
	{unix.MADV_DONTNEED, "MADV_DONTNEED"},
	{unix.MADV_FREE, "MADV_FREE"},
	{unix.MADV_REMOVE, "MADV_REMOVE"},
	{unix.MADV_DONTFORK, "MADV_DONTFORK"},
	{unix.MADV_DOFORK, "MADV_DOFORK"},
	{unix.MADV_MERGEABLE, "MADV_MERGEABLE"},
	{unix.MADV_UNMERGEABLE, "MADV_UNMERGEABLE"},
	{unix.MADV_HUGEPAGE, "MADV_HUGEPAGE"},
	{unix.MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE"},
	{unix.MADV_DONTDUMP, "MADV_DONTDUMP"},
	{unix.MADV_DODUMP, "MADV_DODUMP"},
	{unix.MADV_WIPEONFORK, "MADV_WIPEONFORK"},
	{unix.MADV_KEEPONFORK, "MADV_KEEPONFORK"},
	{unix.MADV_COLD, "MADV_COLD"},
	{unix.MADV_PAGEOUT, "MADV_PAGEOUT"},
	{unix.MADV_POPULATE_READ, "MADV_POPULATE_READ"},
	{unix.MADV_POPULATE_WRITE, "MADV_POPULATE_WRITE"},
}}

// remapFlags are of mremap(2).
var remapFlags = names{"MREMAP_???", []constant{
	{unix.MREMAP_MAYMOVE, "MREMAP_MAYMOVE"},
	{unix.MREMAP_FIXED, "MREMAP_FIXED"},
	{unix.MREMAP_DONTUNMAP, "MREMAP_DONTUNMAP"},
}}

// cloneFlags are of clone(2).
var cloneFlags = names{"CLONE_???", []constant{
	{unix.CLONE_VM, "CLONE_VM"},
	{unix.CLONE_FS, "CLONE_FS"},
	{unix.CLONE_FILES, "CLONE_FILES"},
	{unix.CLONE_SIGHAND, "CLONE_SIGHAND"},
	{unix.CLONE_PIDFD, "CLONE_PIDFD"},
	{unix.CLONE_PTRACE, "CLONE_PTRACE"},
	{unix.CLONE_VFORK, "CLONE_VFORK"},
	{unix.CLONE_PARENT, "CLONE_PARENT"},
	{unix.CLONE_THREAD, "CLONE_THREAD"},
	{unix.CLONE_NEWNS, "CLONE_NEWNS"},
	{unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"},
	{unix.CLONE_SETTLS, "CLONE_SETTLS"},
	{unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
	{unix.CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"},
	{unix.CLONE_DETACHED, "CLONE_DETACHED"},
	{unix.CLONE_UNTRACED, "CLONE_UNTRACED"},
	{unix.CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"},
	{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
	{unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
	{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
	{unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
	{unix.CLONE_NEWPID, "CLONE_NEWPID"},
	{unix.CLONE_NEWNET, "CLONE_NEWNET"},
	{unix.CLONE_IO, "CLONE_IO"},
}}

// waitOptions are of wait4(2).
var waitOptions = names{"W???", []constant{
	{unix.WNOHANG, "WNOHANG"},
	{unix.WUNTRACED, "WUNTRACED"},
	{unix.WEXITED, "WEXITED"},
	{unix.WCONTINUED, "WCONTINUED"},
	{unix.WNOWAIT, "WNOWAIT"},
	{0x20000000, "__WNOTHREAD"},
	{0x40000000, "__WALL"},
	{0x80000000, "__WCLONE"},
}}

// waitTypes are of waitid(2).
var waitTypes = names{"P_???", []constant{
	{unix.P_ALL, "P_ALL"},
	{unix.P_PID, "P_PID"},
	{unix.P_PGID, "P_PGID"},
	{unix.P_PIDFD, "P_PIDFD"},
}}

// signals are of signal(7). kill(2) takes 0 for none.
var signals = names{"SIG???", append(realTimeSignals(), []constant{
	{0, "0"},
	{uint64(unix.SIGHUP), "SIGHUP"},
	{uint64(unix.SIGINT), "SIGINT"},
	{uint64(unix.SIGQUIT), "SIGQUIT"},
	{uint64(unix.SIGILL), "SIGILL"},
	{uint64(unix.SIGTRAP), "SIGTRAP"},
	{uint64(unix.SIGABRT), "SIGABRT"},
	{uint64(unix.SIGBUS), "SIGBUS"},
	{uint64(unix.SIGFPE), "SIGFPE"},
	{uint64(unix.SIGKILL), "SIGKILL"},
	{uint64(unix.SIGUSR1), "SIGUSR1"},
	{uint64(unix.SIGSEGV), "SIGSEGV"},
	{uint64(unix.SIGUSR2), "SIGUSR2"},
	{uint64(unix.SIGPIPE), "SIGPIPE"},
	{uint64(unix.SIGALRM), "SIGALRM"},
	{uint64(unix.SIGTERM), "SIGTERM"},
	{uint64(unix.SIGSTKFLT), "SIGSTKFLT"},
	{uint64(unix.SIGCHLD), "SIGCHLD"},
	{uint64(unix.SIGCONT), "SIGCONT"},
	{uint64(unix.SIGSTOP), "SIGSTOP"},
	{uint64(unix.SIGTSTP), "SIGTSTP"},
	{uint64(unix.SIGTTIN), "SIGTTIN"},
	{uint64(unix.SIGTTOU), "SIGTTOU"},
	{uint64(unix.SIGURG), "SIGURG"},
	{uint64(unix.SIGXCPU), "SIGXCPU"},
	{uint64(unix.SIGXFSZ), "SIGXFSZ"},
	{uint64(unix.SIGVTALRM), "SIGVTALRM"},
	{uint64(unix.SIGPROF), "SIGPROF"},
	{uint64(unix.SIGWINCH), "SIGWINCH"},
	{uint64(unix.SIGIO), "SIGIO"},
	{uint64(unix.SIGPWR), "SIGPWR"},
	{uint64(unix.SIGSYS), "SIGSYS"},
}...)}

// realTimeSignals are the kernel's, of which C libraries keep the first for themselves:
// strace(1) counts them from the kernel's SIGRTMIN.
func realTimeSignals() (list []constant) {
	const first, last = 32, 64 // include/uapi/asm-generic/signal.h
	for nr := uint64(first); nr <= last; nr++ {
		list = append(list, constant{nr, fmt.Sprintf("SIGRT_%d", nr-first)})
	}
	return list
}

// maskHows are of sigprocmask(2).
var maskHows = names{"SIG_???", []constant{
	{0x0, "SIG_BLOCK"},
	{0x1, "SIG_UNBLOCK"},
	{0x2, "SIG_SETMASK"},
}}

// epollOps are of epoll_ctl(2).
var epollOps = names{"EPOLL_CTL_???", []constant{
	{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"},
	{unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"},
	{unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"},
}}

// epollFlags are of epoll_create1(2).
var epollFlags = names{"EPOLL_???", []constant{
	{unix.EPOLL_CLOEXEC, "EPOLL_CLOEXEC"},
}}

// eventFlags are of eventfd(2).
var eventFlags = names{"EFD_???", []constant{
	{unix.EFD_SEMAPHORE, "EFD_SEMAPHORE"},
	{unix.EFD_NONBLOCK, "EFD_NONBLOCK"},
	{unix.EFD_CLOEXEC, "EFD_CLOEXEC"},
}}

// memfdFlags are of memfd_create(2).
var memfdFlags = names{"MFD_???", []constant{
	{unix.MFD_CLOEXEC, "MFD_CLOEXEC"},
	{unix.MFD_ALLOW_SEALING, "MFD_ALLOW_SEALING"},
	{unix.MFD_HUGETLB, "MFD_HUGETLB"},
}}

// limits are of prlimit(2).
var limits = names{"RLIMIT_???", []constant{
	{unix.RLIMIT_CPU, "RLIMIT_CPU"},
	{unix.RLIMIT_FSIZE, "RLIMIT_FSIZE"},
	{unix.RLIMIT_DATA, "RLIMIT_DATA"},
	{unix.RLIMIT_STACK, "RLIMIT_STACK"},
	{unix.RLIMIT_CORE, "RLIMIT_CORE"},
	{unix.RLIMIT_RSS, "RLIMIT_RSS"},
	{unix.RLIMIT_NPROC, "RLIMIT_NPROC"},
	{unix.RLIMIT_NOFILE, "RLIMIT_NOFILE"},
	{unix.RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
	{unix.RLIMIT_AS, "RLIMIT_AS"},
	{unix.RLIMIT_LOCKS, "RLIMIT_LOCKS"},
	{unix.RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
	{unix.RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"},
	{unix.RLIMIT_NICE, "RLIMIT_NICE"},
	{unix.RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
	{unix.RLIMIT_RTTIME, "RLIMIT_RTTIME"},
}}

// processOptions are of prctl(2).
var processOptions = names{"PR_???", []constant{
	{unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"},
	{unix.PR_GET_PDEATHSIG, "PR_GET_PDEATHSIG"},
	{unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE"},
	{unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
	{unix.PR_GET_KEEPCAPS, "PR_GET_KEEPCAPS"},
	{unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"},
	{unix.PR_SET_NAME, "PR_SET_NAME"},
	{unix.PR_GET_NAME, "PR_GET_NAME"},
	{unix.PR_GET_SECCOMP, "PR_GET_SECCOMP"},
	{unix.PR_SET_SECCOMP, "PR_SET_SECCOMP"},
	{unix.PR_CAPBSET_READ, "PR_CAPBSET_READ"},
	{unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"},
	{unix.PR_SET_TIMERSLACK, "PR_SET_TIMERSLACK"},
	{unix.PR_GET_TIMERSLACK, "PR_GET_TIMERSLACK"},
	{unix.PR_SET_MM, "PR_SET_MM"},
	{unix.PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER"},
	{unix.PR_GET_CHILD_SUBREAPER, "PR_GET_CHILD_SUBREAPER"},
	{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"},
	{unix.PR_GET_NO_NEW_PRIVS, "PR_GET_NO_NEW_PRIVS"},
	{unix.PR_SET_THP_DISABLE, "PR_SET_THP_DISABLE"},
	{unix.PR_GET_THP_DISABLE, "PR_GET_THP_DISABLE"},
	{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"},
}}
