package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// procNetAt is where coverProcNet mounts its files: an empty directory of every procfs
// (proc_tty_init of fs/proc/proc_tty.c).
const procNetAt = "/proc/tty/ldisc"

// procNetLink is the name of a symbolic link in procNetAt that covers /proc/net.
const procNetLink = ".net"

// A cover has the files that a program sees in place of the host's, by name: in
// /proc/net, where the kernel's other files stay, and in /sys/class/net.
type cover struct{ ProcNet, SysClassNet map[string]string }

// mount mounts the files for this process and its children, which have their own mount
// namespace (mount_namespaces(7)).
func (c *cover) mount() error {
	// Every user can read the kernel's own files, whatever this process's umask(2) is.
	defer unix.Umask(unix.Umask(0))
	return errors.Join(coverProcNet(c.ProcNet), coverSysClassNet(c.SysClassNet))
}

// sysClassNet is where sysfs(5) lists the network interfaces.
const sysClassNet = "/sys/class/net"

// coverSysClassNet mounts files over /sys/class/net. It does nothing on a machine without
// sysfs.
func coverSysClassNet(files map[string]string) error {
	if _, err := os.Stat(sysClassNet); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unix.Mount("", "/sys", "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mount of /sys private: %w", err)
	}
	folder, err := memoryFolder(func(folder int) error {
		for name, content := range files {
			if err := writeAt(folder, name, content); err != nil {
				return fmt.Errorf("make %s/%s: %w", sysClassNet, name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	if err := unix.MoveMount(folder, "", unix.AT_FDCWD, sysClassNet,
		unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", sysClassNet, err)
	}
	return nil
}

// coverProcNet mounts files over those of /proc/net. The kernel's other files there stay
// visible.
//
// /proc/net is a symbolic link to self/net, which is another directory in each process.
// coverProcNet therefore covers the link itself by a link to a directory in memory.
// move_mount(2) can mount a link over a link, which mount(2) cannot, and only if the link
// is in a mounted file system.
func coverProcNet(files map[string]string) error {
	// Otherwise the mounts would also appear in the host's /proc.
	if err := unix.Mount("", "/proc", "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mount of /proc private: %w", err)
	}
	folder, err := memoryFolder(func(folder int) error { return fillProcNet(folder, files) })
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	if err := unix.MoveMount(folder, "", unix.AT_FDCWD, procNetAt,
		unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", procNetAt, err)
	}
	link, err := unix.OpenTree(unix.AT_FDCWD, procNetAt+"/"+procNetLink,
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("open %s: %w", procNetLink, err)
	}
	defer unix.Close(link)
	if err := unix.MoveMount(link, "", unix.AT_FDCWD, "/proc/net",
		unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on /proc/net: %w", err)
	}
	return nil
}

// memoryFolder makes a file system in memory, which is not mounted. fill makes its files;
// then it becomes read-only.
func memoryFolder(fill func(folder int) error) (int, error) {
	config, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(config)
	err = unix.FsconfigSetString(config, "mode", "0555")
	if err == nil {
		err = unix.FsconfigCreate(config)
	}
	if err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	folder, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC,
		unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	if err := fill(folder); err != nil {
		unix.Close(folder)
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(folder, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(folder)
		return -1, fmt.Errorf("mount_setattr: %w", err)
	}
	return folder, nil
}

func fillProcNet(folder int, files map[string]string) error {
	if err := unix.Symlinkat("tty/ldisc", folder, procNetLink); err != nil {
		return fmt.Errorf("link %s: %w", procNetLink, err)
	}
	entries, err := os.ReadDir("/proc/self/net")
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, ok := files[e.Name()]
		if !ok {
			err = unix.Symlinkat("../../self/net/"+e.Name(), folder, e.Name())
		} else {
			err = writeAt(folder, e.Name(), content)
		}
		if err != nil {
			return fmt.Errorf("make /proc/net/%s: %w", e.Name(), err)
		}
	}
	return nil
}

// writeAt makes a file below a directory, and the directories on its path.
func writeAt(folder int, name, content string) error {
	for at, c := range name {
		if c != '/' {
			continue
		}
		if err := unix.Mkdirat(folder, name[:at], 0o755); err != nil &&
			!errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	fd, err := unix.Openat(folder, name,
		unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.WriteString(content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
