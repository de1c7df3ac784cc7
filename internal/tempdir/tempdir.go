// Package tempdir makes temporary directories that do not outlive a killed program for
// long: the next program that makes one removes those whose owners have died.
//
// A directory has a marker file that its owner keeps locked (flock(2)). The kernel drops
// the lock when the owner ends, however it ends. A directory without that file was made
// by others, and stays. Locks tell nothing about processes of another kernel, such as a
// virtual machine or a sandbox that shares the file system. So the file also names the
// boot of the kernel (boot_id, random(4)), and a directory of another boot stays, too.
package tempdir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// marker is the name of the locked file in each directory.
const marker = ".boxer-owner"

// A Dir is a temporary directory of this process.
type Dir struct {
	Path  string
	owner *os.File // the marker, locked
}

// Make makes a directory of mode 0700 in the default directory for temporary files
// (os.TempDir). Its name is prefix and a number. Before that, Make removes the
// directories of this user with that prefix whose owners have died.
func Make(prefix string) (*Dir, error) {
	boot := bootID()
	sweep(os.TempDir(), prefix, boot)
	path, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}
	owner, err := mark(path, boot)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("temporary directory %s: %w", path, err),
			os.RemoveAll(path))
	}
	return &Dir{path, owner}, nil
}

// Remove removes the directory with everything in it.
func (d *Dir) Remove() error { return errors.Join(os.RemoveAll(d.Path), d.owner.Close()) }

// bootID returns the id of this boot of the kernel, or "" if the kernel does not tell.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// mark makes the marker. It gets its name when it is locked and written, so that no other
// process finds it before that.
func mark(dir, boot string) (*os.File, error) {
	f, err := os.CreateTemp(dir, marker)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	if err == nil {
		_, err = f.WriteString(boot)
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, marker))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes the directories in parent that dead processes of this user and this boot
// have left. It is a courtesy: what cannot be removed stays.
func sweep(parent, prefix, boot string) {
	entries, err := os.ReadDir(parent)
	if err != nil || boot == "" {
		return
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		if dir := filepath.Join(parent, e.Name()); abandoned(dir, boot) {
			_ = os.RemoveAll(dir)
		}
	}
}

// abandoned reports whether dir is a directory of this user with a marker of this boot
// that no process has locked.
func abandoned(dir, boot string) bool {
	if !isOwn(dir, unix.S_IFDIR) || !isOwn(filepath.Join(dir, marker), unix.S_IFREG) {
		return false
	}
	fd, err := unix.Open(filepath.Join(dir, marker),
		unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), marker)
	defer f.Close()
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	written, err := io.ReadAll(io.LimitReader(f, int64(len(boot))+1))
	return err == nil && string(written) == boot
}

// isOwn reports whether path is a file of that type (inode(7)) and of this user. It does
// not follow symbolic links, which other users can make in /tmp.
func isOwn(path string, kind uint32) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == kind &&
		int(st.Uid) == os.Geteuid()
}
