// Command jail runs a command under a filter that refuses what AWS Lambda functions are
// reported to refuse. Tests run in it.
//
//	jail [-uid UID] [-gid GID] [-strict] [--] COMMAND [ARG...]
//
// seccomp(2), PR_SET_NO_NEW_PRIVS and PR_SET_SECCOMP of prctl(2), ptrace(2), new
// namespaces, mounts, chroot(2), bpf(2), perf_event_open(2), userfaultfd(2), and io_uring
// fail with EPERM. Calls that are newer than Linux 5.10 fail with ENOSYS. The limits are
// 1,024 descriptors and 1,024 processes. If root starts jail, the command runs without
// capabilities as the given user and group. The defaults are the reported ones, 993 and
// 990; -uid 0 keeps root. With -strict, process_vm_readv(2), process_vm_writev(2),
// pidfd_open(2) and pidfd_getfd(2) also fail with EPERM, because there is no report on
// whether they are allowed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// limit is the limit of descriptors, and of processes.
const limit = 1024

func main() {
	uid := flag.Int("uid", 993, "user of the command, if root starts it")
	gid := flag.Int("gid", 990, "group of the command, if root starts it")
	strict := flag.Bool("strict", false,
		"also refuse calls without a report on whether they are allowed")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: jail [-uid UID] [-gid GID] [-strict] [--] COMMAND [ARG...]")
		os.Exit(2)
	}
	if err := run(*uid, *gid, *strict, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "jail:", err)
		os.Exit(125)
	}
}

func run(uid, gid int, strict bool, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	for _, resource := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC} {
		if err := unix.Setrlimit(resource,
			&unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return os.NewSyscallError("setrlimit", err)
		}
	}
	root := os.Geteuid() == 0
	if !root { // without CAP_SYS_ADMIN, a filter needs no_new_privs
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
	}
	if err := install(strict); err != nil {
		return err
	}
	if root && uid != 0 {
		if err := linux.SetThreadIDs(uid, gid); err != nil {
			return err
		}
	}
	return os.NewSyscallError("execve "+path, unix.Exec(path, argv, os.Environ()))
}

// install installs the filter on the calling thread.
func install(strict bool) error {
	raw, err := bpf.Assemble(program(strict))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := linux.InstallFilter(filter); err != nil {
		return os.NewSyscallError("seccomp", err)
	}
	return nil
}

// newest is the number of the last call that Linux 5.10 has, process_madvise. It is the
// same on all architectures.
const newest = 440

// forbidden are the calls that fail with EPERM.
var forbidden = []uint32{
	unix.SYS_SECCOMP, unix.SYS_PTRACE, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT,
	unix.SYS_MOUNT,
	unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
}

// unconfirmed are the calls that also fail with EPERM with -strict.
var unconfirmed = []uint32{unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD}

// namespaces are the flags of clone(2) that fail with EPERM. clone3 fails with ENOSYS
// instead, because filters cannot read its arguments. C libraries then use clone.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offsetNr   = 0
	offsetArg0 = 16
)

// program returns the filter.
func program(strict bool) []bpf.Instruction {
	fail := func(errno unix.Errno) bpf.Instruction {
		return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	load := func(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 4} }
	unless := func(v uint32, skip uint8) bpf.Instruction {
		return bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: skip}
	}
	p := []bpf.Instruction{
		load(offsetNr),
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: newest, SkipFalse: 1},
		fail(unix.ENOSYS),
		unless(unix.SYS_CLONE3, 1), fail(unix.ENOSYS),
	}
	refused := forbidden
	if strict {
		refused = slices.Concat(forbidden, unconfirmed)
	}
	for _, nr := range refused {
		p = append(p, unless(nr, 1), fail(unix.EPERM))
	}
	return append(p,
		unless(unix.SYS_PRCTL, 6), load(offsetArg0),
		unless(unix.PR_SET_NO_NEW_PRIVS, 1), fail(unix.EPERM),
		unless(unix.PR_SET_SECCOMP, 1), fail(unix.EPERM), load(offsetNr),
		unless(unix.SYS_CLONE, 3), load(offsetArg0),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaces, SkipFalse: 1},
		fail(unix.EPERM),
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	)
}
