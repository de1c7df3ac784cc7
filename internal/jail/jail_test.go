package main

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is the jail, and what runs in it: the calls that it is about, tried.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("JAIL_TEST") == "jail":
		os.Setenv("JAIL_TEST", "inside")
		if err := run(993, 990, os.Getenv("JAIL_STRICT") != "",
			[]string{"/proc/self/exe"}); err != nil {
			println("jail:", err.Error())
		}
		os.Exit(125)
	case os.Getenv("JAIL_TEST") == "inside":
		os.Exit(inside())
	}
	os.Exit(m.Run())
}

// inside returns the number of what is not refused, and prints it.
func inside() int {
	wrong := 0
	unconfirmed := unix.Errno(0)
	if os.Getenv("JAIL_STRICT") != "" {
		unconfirmed = unix.EPERM
	}
	for _, test := range []struct {
		name string
		nr   uintptr
		arg  uintptr
		want unix.Errno
	}{
		{"seccomp", unix.SYS_SECCOMP, 2, unix.EPERM},
		{"prctl(PR_SET_NO_NEW_PRIVS)", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS,
			unix.EPERM},
		{"prctl(PR_SET_SECCOMP)", unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.EPERM},
		{"prctl(PR_GET_DUMPABLE)", unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0},
		{"ptrace", unix.SYS_PTRACE, 0, unix.EPERM},
		{"unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, unix.EPERM},
		{"clone(CLONE_NEWUSER)", unix.SYS_CLONE, unix.CLONE_NEWUSER, unix.EPERM},
		{"clone3", unix.SYS_CLONE3, 0, unix.ENOSYS},
		{"mount_setattr, of Linux 5.12", 442, 0, unix.ENOSYS},
		{"process_vm_readv of nothing", unix.SYS_PROCESS_VM_READV, uintptr(os.Getpid()),
			unconfirmed},
		{"getpid", unix.SYS_GETPID, 0, 0},
	} {
		if _, _, errno := unix.RawSyscall(test.nr, test.arg, 0, 0); errno != test.want {
			println(test.name, "gives", errno.Error())
			wrong++
		}
	}
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r); r.Max != limit {
		println("RLIMIT_NOFILE is", r.Max)
		wrong++
	}
	if uid := os.Getuid(); uid == 0 {
		println("the user is root")
		wrong++
	}
	return wrong
}

func TestJail(t *testing.T) {
	for _, strict := range []string{"", "yes"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "JAIL_TEST=jail", "JAIL_STRICT="+strict)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("strict %q: %v\n%s", strict, err, out)
		}
	}
}
