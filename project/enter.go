package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter makes the view of files that standard input describes, and executes the program
// of os.Args with the arguments after its path. It returns only with an error.
func Enter() error {
	runtime.LockOSThread() // for endWith
	parent := os.Getppid()
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var o enterOrder
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	if err := unix.Dup2(int(null.Fd()), 0); err != nil {
		return os.NewSyscallError("dup2", err)
	}
	program, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	if err := o.enter(); err != nil {
		return err
	}
	if err := endWith(parent); err != nil {
		return err
	}
	// The program's file may be out of sight by now.
	path := fmt.Sprintf("/proc/self/fd/%d", program.Fd())
	return os.NewSyscallError("execve", syscall.Exec(path, os.Args[2:], os.Environ()))
}

// errOrphan means that the supervisor has ended before the program was started.
var errOrphan = errors.New("the project's supervisor has ended")

// endWith has this process end with its parent, the supervisor, as spawner has arranged
// it. The kernel has forgotten that if the process has become another user's, and knows
// it for one thread: for that which executes the program (PR_SET_PDEATHSIG, prctl(2)). A
// parent that has ended meanwhile sends no signal.
func endWith(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_PDEATHSIG)", err)
	}
	if os.Getppid() != parent {
		return errOrphan
	}
	return nil
}

func (o *enterOrder) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	root := "/"
	if o.Space.Root != "" {
		var err error
		if root, err = o.makeRoot(); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	for _, m := range o.Space.Mounts {
		if err := m.mount(root); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	if root != "/" {
		if o.Space.ReadOnly {
			if err := remount(root); err != nil {
				return err
			}
		}
		if err := unix.Chroot(root); err != nil {
			return fmt.Errorf("chroot %s: %w", root, err)
		}
	}
	if err := o.User.become(); err != nil {
		return err
	}
	dir := o.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	return nil
}

// become makes this process the user's.
func (u *User) become() error {
	if u == nil {
		return nil
	}
	var groups []int
	for _, g := range u.Groups {
		groups = append(groups, int(g))
	}
	if err := syscall.Setgroups(groups); err != nil && os.Geteuid() == 0 {
		return fmt.Errorf("groups of user %d: %w", u.UID, err)
	}
	if err := syscall.Setgid(int(u.GID)); err != nil {
		return fmt.Errorf("group %d: %w", u.GID, err)
	}
	if err := syscall.Setuid(int(u.UID)); err != nil {
		return fmt.Errorf("user %d: %w", u.UID, err)
	}
	return nil
}

// fromHost are the directories and files of the host that a program in an image sees.
var fromHost = []Mount{
	{Source: "/proc", Target: "/proc"}, {Source: "/sys", Target: "/sys"},
	{Source: "/dev", Target: "/dev"},
	{Source: "/etc/resolv.conf", Target: "/etc/resolv.conf", File: true, ReadOnly: true},
	{Source: "/etc/hosts", Target: "/etc/hosts", File: true, ReadOnly: true},
}

// makeRoot makes the root directory: the image's files under a layer of the instance's
// own (overlayfs), or a copy of them where the kernel refuses that.
func (o *enterOrder) makeRoot() (string, error) {
	root := filepath.Join(o.Own, "root")
	upper, work := filepath.Join(o.Own, "upper"), filepath.Join(o.Own, "work")
	for _, dir := range []string{root, upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", o.Space.Root, upper, work)
	err := unix.Mount("overlay", root, "overlay", 0, options+",userxattr")
	if err != nil {
		err = unix.Mount("overlay", root, "overlay", 0, options)
	}
	if err != nil {
		if err := copyTree(o.Space.Root, root); err != nil {
			return "", fmt.Errorf("copy: %w", err)
		}
		if err := bind(root, root); err != nil {
			return "", err
		}
	}
	for _, m := range fromHost {
		if _, err := os.Stat(m.Source); err != nil {
			continue
		}
		if err := m.mount(root); err != nil {
			return "", fmt.Errorf("%s: %w", m.Source, err)
		}
	}
	return root, nil
}

// mount shows a mount below a root.
func (m *Mount) mount(root string) error {
	target, err := within(root, m.Target)
	if err != nil {
		return err
	}
	if err := m.makeTarget(root, target); err != nil {
		return err
	}
	if m.Source == "" {
		options := "mode=1777"
		if m.Size > 0 {
			options += fmt.Sprintf(",size=%d", m.Size)
		}
		return os.NewSyscallError("mount", unix.Mount("tmpfs", target, "tmpfs",
			unix.MS_NOSUID|unix.MS_NODEV, options))
	}
	if err := bind(m.Source, target); err != nil {
		return err
	}
	if m.ReadOnly {
		return seal(target)
	}
	return nil
}

// within returns where a path of the instance is. A symbolic link of an image leads
// nowhere else.
func within(root, path string) (string, error) {
	if root == "/" {
		return filepath.Clean(path), nil
	}
	at := root
	links := 0
	rest := strings.Split(strings.Trim(filepath.Clean("/"+path), "/"), "/")
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0])
		target, err := os.Readlink(next)
		if err != nil {
			at, rest = next, rest[1:]
			continue
		}
		if links++; links > 40 {
			return "", unix.ELOOP
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(strings.TrimPrefix(at, root), target)
		}
		target = filepath.Clean("/" + target)
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest[1:]...)
		at = root
	}
	return at, nil
}

// makeTarget makes what a mount covers.
func (m *Mount) makeTarget(root, target string) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if root == "/" { // the host's files stay as they are
		if err := m.coverParent(target); err != nil {
			return err
		}
	}
	if !m.File {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// coverParent covers the nearest directory that is there by one in memory that shows the
// same, so that more can be made in it.
func (m *Mount) coverParent(target string) error {
	dir := filepath.Dir(target)
	for {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	if dir == "/" { // a process keeps the root directory that it has
		return fmt.Errorf("this host has no directory /%s: make it, or take a target below one that is there",
			strings.Split(target, "/")[1])
	}
	if isCover(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	old, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(old)
	if err := unix.Mount(coverName, dir, "tmpfs", 0, fmt.Sprintf("mode=%o,size=1m",
		info.Mode().Perm())); err != nil {
		return fmt.Errorf("cover %s: %w", dir, err)
	}
	from := fmt.Sprintf("/proc/self/fd/%d", old)
	for _, e := range entries {
		if err := show(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name()),
			e.Type()); err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
	}
	return nil
}

// coverName is the source of the mounts of coverParent.
const coverName = "boxer-cover"

func isCover(dir string) bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[4] == dir && strings.Contains(line, " "+coverName+" ") {
			return true
		}
	}
	return false
}

// show makes an entry of a directory appear at another place.
func show(from, to string, mode fs.FileMode) error {
	switch {
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case mode.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
	default:
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	err := bind(from, to)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return nil // gone meanwhile, or not for this user
	}
	return err
}

func bind(from, to string) error {
	return os.NewSyscallError("mount", unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""))
}

// seal makes a mount read-only, with the mounts below it. Kernels before 5.12 do not have
// mount_setattr(2). There, those below stay as they are, as with docker.
func seal(path string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if errors.Is(err, unix.ENOSYS) {
		return remount(path)
	}
	return os.NewSyscallError("mount_setattr", err)
}

// remount makes a mount read-only, but none below it. In a user namespace the flags that
// the mount has already have to be given again.
func remount(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return os.NewSyscallError("statfs", err)
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY)
	for _, f := range []struct{ has, want uintptr }{{unix.ST_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MS_NODEV}, {unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME}, {unix.ST_RELATIME, unix.MS_RELATIME}} {
		if uintptr(st.Flags)&f.has != 0 {
			flags |= f.want
		}
	}
	return os.NewSyscallError("mount", unix.Mount("", path, "", flags, ""))
}

// copyTree copies files, directories and symbolic links with their modes and owners.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			_ = os.Remove(target)
			return os.Symlink(link, target)
		case info.Mode().IsRegular():
			if err := copyFile(path, target); err != nil {
				return err
			}
		default:
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			_ = os.Lchown(target, int(st.Uid), int(st.Gid)) // a user namespace has one id
		}
		return os.Chmod(target, info.Mode().Perm()|info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
	})
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
