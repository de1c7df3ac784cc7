package strace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// callSets are the sets of calls of strace(1), option -e trace. Calls that the
// architecture lacks have no effect.
var callSets = map[string]string{
	"file": `access acct chdir chmod chown chroot creat execve execveat faccessat faccessat2 fanotify_mark fchmodat fchownat
		fspick fstatat64 futimesat getcwd getxattr inotify_add_watch lchown lgetxattr link linkat listxattr llistxattr
		lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat mount mount_setattr move_mount name_to_handle_at newfstatat
		open open_tree openat openat2 pivot_root quotactl readlink readlinkat removexattr rename renameat renameat2 rmdir
		setxattr stat stat64 statfs statfs64 statx swapoff swapon symlink symlinkat truncate truncate64 umount umount2 unlink unlinkat
		uselib utime utimensat utimes`,
	"process": `clone clone3 execve execveat exit exit_group fork kill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill
		vfork wait4 waitid waitpid`,
	"desc": `bpf close close_range copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
		eventfd eventfd2 execveat faccessat faccessat2 fadvise64 fallocate fanotify_init fanotify_mark fchdir fchmod fchmodat fchown
		fchownat fcntl fdatasync fgetxattr finit_module flistxattr flock fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstat
		fstatfs fsync ftruncate futimesat getdents getdents64 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl
		kexec_file_load linkat lseek memfd_create mkdirat mknodat mmap mount_setattr move_mount name_to_handle_at newfstatat open
		open_by_handle_at open_tree openat openat2 perf_event_open pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 poll ppoll
		pread64 preadv preadv2 pselect6 pwrite64 pwritev pwritev2 read readahead readlinkat readv renameat renameat2 select
		sendfile setns signalfd signalfd4 splice statx symlinkat sync_file_range syncfs tee timerfd_create timerfd_gettime
		timerfd_settime unlinkat utimensat vmsplice write writev`,
	"memory": `brk get_mempolicy io_destroy io_setup madvise mbind migrate_pages mincore mlock mlock2 mlockall mmap move_pages
		mprotect mremap msync munlock munlockall munmap pkey_mprotect process_madvise process_mrelease remap_file_pages set_mempolicy
		set_mempolicy_home_node shmat shmdt`,
	"signal": `kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
		rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4 tgkill tkill`,
	"ipc":   "msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget",
	"creds": "capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid setresgid setresuid setreuid setuid prctl",
	"clock": "adjtimex clock_adjtime clock_getres clock_gettime clock_settime gettimeofday settimeofday time",
}

// synonyms are other names of sets.
var synonyms = map[string]string{"net": "network", "memory": "memory", "mem": "memory"}

// networkNumbers are the numbers of the calls of strace's set %network.
var networkNumbers = []uintptr{unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_BIND,
	unix.SYS_CONNECT, unix.SYS_GETPEERNAME,
	unix.SYS_GETSOCKNAME, unix.SYS_GETSOCKOPT, unix.SYS_LISTEN, unix.SYS_RECVFROM,
	unix.SYS_RECVMMSG, unix.SYS_RECVMSG,
	unix.SYS_SENDMMSG, unix.SYS_SENDMSG, unix.SYS_SENDTO, unix.SYS_SETSOCKOPT,
	unix.SYS_SHUTDOWN, unix.SYS_SOCKET, unix.SYS_SOCKETPAIR}

// A Selection is the set of calls that a trace shows: -e trace= of strace(1).
type Selection struct {
	Text  string    // what ParseSelection parsed
	Calls []uintptr // native numbers
}

// Watches reports whether the selection has calls outside of the set %network.
func (s Selection) Watches() bool {
	return slices.ContainsFunc(s.Calls, func(nr uintptr) bool { return !slices.Contains(networkNumbers, nr) })
}

// ParseSelection parses a list of calls and sets, such as "network,openat", "!futex" or
// "trace=%file". all has the numbers of this architecture's calls by their names.
func ParseSelection(s string, all map[string]uintptr) (Selection, error) {
	sel := Selection{Text: s}
	list := strings.TrimPrefix(strings.TrimPrefix(s, "trace="), "t=")
	list, not := strings.CutPrefix(list, "!")
	chosen := make(map[uintptr]bool)
	for item := range strings.SplitSeq(list, ",") {
		calls, err := callsOf(strings.TrimSpace(item), all)
		if err != nil {
			return sel, fmt.Errorf("-e %q: %w", s, err)
		}
		for _, nr := range calls {
			chosen[nr] = true
		}
	}
	if not {
		for nr := range maps.Values(all) {
			if chosen[nr] {
				delete(chosen, nr)
			} else {
				chosen[nr] = true
			}
		}
	}
	sel.Calls = slices.Sorted(maps.Keys(chosen))
	return sel, nil
}

// connectionNumbers returns the network's calls without those that send and receive. A
// trapped send or receive costs some 10 us, and the events of connections tell what they
// carry anyway.
func connectionNumbers() []uintptr {
	return slices.DeleteFunc(slices.Clone(networkNumbers), func(nr uintptr) bool {
		switch nr {
		case unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG,
			unix.SYS_SENDMMSG, unix.SYS_RECVMMSG:
			return true
		}
		return false
	})
}

// callsOf returns the numbers of a set or of one call.
func callsOf(item string, all map[string]uintptr) ([]uintptr, error) {
	set := strings.TrimPrefix(item, "%")
	if other, ok := synonyms[set]; ok {
		set = other
	}
	switch set {
	case "network":
		return networkNumbers, nil
	case "connections":
		return connectionNumbers(), nil
	case "all":
		return slices.Collect(maps.Values(all)), nil
	case "none":
		return nil, nil
	}
	if names, ok := callSets[set]; ok {
		var calls []uintptr
		for name := range strings.FieldsSeq(names) {
			if nr, ok := all[name]; ok {
				calls = append(calls, nr)
			}
		}
		return calls, nil
	}
	if nr, ok := all[item]; ok {
		return []uintptr{nr}, nil
	}
	sets := append(slices.Sorted(maps.Keys(callSets)), "network", "connections", "all", "none")
	return nil, fmt.Errorf("no system call and no set is called %q; sets are %s", item,
		strings.Join(sets, ", "))
}
