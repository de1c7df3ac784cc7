package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A namespace is the network, mount and UTS namespace of one host. It lives as long as
// its files are open or a process is in it.
type namespace struct {
	name          string
	net, mnt, uts *os.File
	resolvConf    string // bound over /etc/resolv.conf in mnt
}

// newNamespace makes a namespace with the hostname name, with lo up, and with a
// nameserver that never answers.
func newNamespace(ctx context.Context, name string) (*namespace, error) {
	ns := &namespace{name: name}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		for file, f := range map[string]**os.File{"net": &ns.net, "mnt": &ns.mnt,
			"uts": &ns.uts} {
			var err error
			if *f, err = os.Open("/proc/thread-self/ns/" + file); err != nil {
				return err
			}
		}
		if err := unix.Sethostname([]byte(name)); err != nil {
			return os.NewSyscallError("sethostname", err)
		}
		if err := ns.bindResolvConf(); err != nil {
			return err
		}
		// Links made from now on carry only IPv4. lo keeps ::1.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6",
			[]byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return loopbackUp()
	})
	if err != nil {
		ns.close()
		return nil, err
	}
	return ns, nil
}

// defaultResolvConf names a nameserver that no network has (RFC 5737).
const defaultResolvConf = "nameserver 192.0.2.53\n"

// bindResolvConf gives the calling thread's mount namespace an /etc/resolv.conf of its
// own.
func (ns *namespace) bindResolvConf() error {
	f, err := os.CreateTemp("/run", "resolv.conf.")
	if err != nil {
		return err
	}
	defer f.Close()
	ns.resolvConf = f.Name()
	if err := f.Chmod(0o644); err != nil { // programs of every user read it
		return err
	}
	if _, err := f.WriteString(defaultResolvConf); err != nil {
		return err
	}
	const target = "/etc/resolv.conf"
	// It may be a symbolic link into /run (systemd-resolved), which is empty in these
	// namespaces.
	if to, err := os.Readlink(target); err == nil {
		if to = absolute(to, filepath.Dir(target)); strings.HasPrefix(to, "/run/") {
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(to, nil, 0o644); err != nil {
				return err
			}
		}
	}
	if err := unix.Mount(f.Name(), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", target, err)
	}
	return nil
}

// absolute returns path relative to directory dir as an absolute path.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// close releases the namespace.
func (ns *namespace) close() {
	for _, f := range []*os.File{ns.net, ns.mnt, ns.uts} {
		if f != nil {
			f.Close()
		}
	}
	if ns.resolvConf != "" {
		os.Remove(ns.resolvConf)
	}
}

// path returns the path of the network namespace for the ip command.
func (ns *namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(),
		ns.net.Fd())
}

// do calls f on a thread in the namespace, in the working directory of the process.
func (ns *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := join(int(ns.net.Fd()), int(ns.mnt.Fd()), int(ns.uts.Fd())); err != nil {
			return fmt.Errorf("enter %s: %w", ns.name, err)
		}
		return f()
	})
}

// ip runs ip(8) in the namespace, once for all lines.
func (ns *namespace) ip(ctx context.Context, lines ...string) error {
	return ns.do(func() error {
		return run(ctx, strings.Join(lines, "\n")+"\n", "ip",
			"-batch", "-")
	})
}

// sysctl writes a kernel parameter in the namespace; name is a path below /proc/sys.
func (ns *namespace) sysctl(name, value string) error {
	return ns.do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name),
			[]byte(value), 0)
	})
}

// join moves the calling thread, which must be locked, into three namespaces, and keeps
// its working directory.
func join(net, mnt, uts int) error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	// setns(2) requires a thread that does not share its root and working directory with
	// another thread.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	for _, ns := range []struct{ fd, kind int }{{net, unix.CLONE_NEWNET},
		{uts, unix.CLONE_NEWUTS}, {mnt, unix.CLONE_NEWNS}} {
		if err := unix.Setns(ns.fd, ns.kind); err != nil {
			return os.NewSyscallError("setns", err)
		}
	}
	return os.NewSyscallError("chdir", unix.Chdir(wd))
}

// The runtime does not end a process's first thread. That thread would stay in the
// namespaces that it has joined, and /proc/self would show these as the process's. So the
// main goroutine stays locked to the first thread, and onThread never gets it.
func init() { runtime.LockOSThread() }

// errExited is the error of onThread if f ended its goroutine, as testing's FailNow does.
var errExited = errors.New("natlab: the function ended its goroutine")

// onThread calls f on a new thread, which ends with f. So no other goroutine runs in the
// namespaces that f joined.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so the runtime ends the thread
		err := errExited
		defer func() { result <- err }()
		err = f()
	}()
	return <-result
}

// loopbackUp sets lo up in the network namespace of the calling thread (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(uint16(net.FlagUp) | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
