package natlab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command returns the command that runs a program on the host, as exec.CommandContext
// does. It searches this process's PATH for the program, and kills the program when ctx
// ends. The caller may set all fields of the result except Path, Args and
// SysProcAttr.Credential. For the credential, see As.
//
// The process first runs this
// program, which enters the host's namespaces: see Inside. That takes some milliseconds.
// To measure a program's start, call Start or Run of an ordinary exec.Cmd from within Do.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	path, err := exec.LookPath(name)
	e, jsonErr := json.Marshal(entry{
		Pid: os.Getpid(), Net: h.ns.net.Fd(), Mnt: h.ns.mnt.Fd(), UTS: h.ns.uts.Fd(),
		User: h.user, Path: path,
	})
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{argEnter, string(e), name}, args...)
	switch {
	case err != nil:
		cmd.Err = err
	case jsonErr != nil:
		cmd.Err = jsonErr
	}
	return cmd
}

// As returns a Host whose commands run as a user of the system, with that user's groups,
// HOME, USER and LOGNAME. It needs root: see NeedUsers.
func (h *Host) As(name string) (*Host, error) {
	if err := Users(); err != nil {
		return nil, err
	}
	u, err := lookUp(name)
	if err != nil {
		return nil, fmt.Errorf("natlab: user %s: %w", name, err)
	}
	if err := runtimeDir(u.UID, u.GID); err != nil {
		return nil, fmt.Errorf("natlab: user %s: %w", name, err)
	}
	as := *h
	as.user = u
	return &as, nil
}

// A user is the identity of a host's commands.
type user struct {
	Name, Home string
	UID, GID   int
	Groups     []int
}

func lookUp(name string) (*user, error) {
	found, err := osuser.Lookup(name)
	if err != nil {
		return nil, err
	}
	groups, err := found.GroupIds()
	if err != nil {
		return nil, err
	}
	u := &user{Name: found.Username, Home: found.HomeDir,
		Groups: make([]int, len(groups))}
	numbers := map[*int]string{&u.UID: found.Uid, &u.GID: found.Gid}
	for i, group := range groups {
		numbers[&u.Groups[i]] = group
	}
	for n, text := range numbers {
		if *n, err = strconv.Atoi(text); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// An entry tells a new process which namespaces to enter, and which program to execute.
type entry struct {
	Pid           int     // holds the namespaces
	Net, Mnt, UTS uintptr // as these file descriptors
	User          *user   // nil: keep the current user
	Path          string  // of the program
}

// enter makes this process a program on a host. args are the arguments that Command set.
// enter returns only if it fails.
func enter(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("enter a host: %d arguments: %w", len(args), os.ErrInvalid)
	}
	var e entry
	if err := json.Unmarshal([]byte(args[0]), &e); err != nil {
		return fmt.Errorf("enter a host: %w", err)
	}
	// After execve(2) the process has the namespaces of the calling thread.
	runtime.LockOSThread()
	var fds [3]int
	for i, fd := range []uintptr{e.Net, e.Mnt, e.UTS} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", e.Pid, fd))
		if err != nil {
			return fmt.Errorf("enter a host: %w", err)
		}
		defer f.Close()
		fds[i] = int(f.Fd())
	}
	if err := join(fds[0], fds[1], fds[2]); err != nil {
		return fmt.Errorf("enter a host: %w", err)
	}
	env := os.Environ()
	if e.User != nil {
		if err := e.User.become(); err != nil {
			return fmt.Errorf("become user %s: %w", e.User.Name, err)
		}
		env = e.User.environ(env)
	}
	return fmt.Errorf("execute %s: %w", e.Path, unix.Exec(e.Path, args[1:], env))
}

// become gives the process the user's identity.
func (u *user) become() error {
	if err := syscall.Setgroups(u.Groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setgid(u.GID); err != nil {
		return os.NewSyscallError("setgid", err)
	}
	return os.NewSyscallError("setuid", syscall.Setuid(u.UID))
}

// environ returns env with the user's variables instead of the current user's.
func (u *user) environ(env []string) []string {
	own := []string{"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name}
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); name != "HOME" && name != "USER" &&
			name != "LOGNAME" {
			own = append(own, v)
		}
	}
	return own
}
