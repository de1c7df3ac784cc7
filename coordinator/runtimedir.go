package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// RuntimeDir returns the directory for the files of this user's coordinators and
// supervisors on this host, and creates it with mode 0700. It is the first of these that
// only this user can access:
//
//	$XDG_RUNTIME_DIR/boxer  if that directory belongs to this user
//	/run/user/UID/boxer     likewise, for processes without the variable
//	/tmp/boxer-UID
//	~/.local/state/boxer/run
//
// RuntimeDir skips a path that another user has taken: any user can take one in /tmp, and
// root may have taken one under a user's XDG_RUNTIME_DIR (sudo -E).
func RuntimeDir() (string, error) { return firstPrivate(RuntimeDirs()) }

// firstPrivate creates the first of the directories that only this user can access.
func firstPrivate(dirs []string) (string, error) {
	var errs []error
	for _, dir := range dirs {
		err := makePrivateDir(dir)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, errForeign) && !errors.Is(err, fs.ErrPermission) &&
			!errors.Is(err, unix.EROFS) {
			break
		}
	}
	return "", errors.Join(errs...)
}

// RuntimeDirs returns the directories that RuntimeDir tries, in that order.
func RuntimeDirs() (dirs []string) {
	uid := strconv.Itoa(os.Geteuid())
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run/user/" + uid} {
		if ownsDir(base) {
			dirs = append(dirs, filepath.Join(base, "boxer"))
		}
	}
	dirs = append(dirs, "/tmp/boxer-"+uid)
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) {
		dirs = append(dirs, filepath.Join(u.HomeDir, ".local/state/boxer/run"))
	}
	return dirs
}

// ownsDir reports whether path is absolute and a directory of this user.
func ownsDir(path string) bool {
	var st unix.Stat_t
	return filepath.IsAbs(path) && unix.Stat(path, &st) == nil &&
		st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid()
}

// errForeign says that another user owns the file at a path.
var errForeign = errors.New("it belongs to another user")

// makePrivateDir creates the directory, or checks that only this user can access it: in
// /tmp any user may have created it, or a symbolic link. If another user owns it, the
// error wraps errForeign.
func makePrivateDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) { // below a home directory
		if err = os.MkdirAll(filepath.Dir(dir), 0o700); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("runtime directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("runtime directory %s: %w", dir, err)
	}
	var fault string
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("runtime directory %s belongs to user %d: %w", dir, st.Uid,
			errForeign)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		fault = "is a symbolic link"
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		fault = "is not a directory"
	case st.Mode&0o077 != 0:
		fault = fmt.Sprintf("has mode %#o, so that other users have access", st.Mode&0o777)
	default:
		return nil
	}
	return fmt.Errorf("runtime directory %s %s; remove it, or set XDG_RUNTIME_DIR to "+
		"a directory of your own", dir, fault)
}
