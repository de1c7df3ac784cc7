package coordinator

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A JoinFile is a file of mode 0600 with a join URL and a newline. The coordinator holds
// a write lock on it (an open file description lock, fcntl(2)) while it lives. A file
// without the lock is stale, no matter how its coordinator ended and which process has
// its pid now.
type JoinFile struct {
	path string
	url  JoinURL
	held *os.File // holds the lock; nil while withdrawn
}

// PublishJoin writes the URL to path, and replaces a stale file. The file appears
// complete and locked. If a running coordinator has a file there, the error wraps
// ErrRunning.
func PublishJoin(path string, url JoinURL) (*JoinFile, error) {
	j := &JoinFile{path: path, url: url}
	if err := j.Restore(); err != nil {
		return nil, err
	}
	return j, nil
}

// Restore publishes a withdrawn file again.
func (j *JoinFile) Restore() error {
	if j == nil || j.held != nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(j.path), filepath.Base(j.path)+".*.new")
	if err != nil {
		return fmt.Errorf("write join file: %w", err)
	}
	if err = j.publish(f); err != nil {
		_ = os.Remove(f.Name())
		_ = f.Close()
		return err
	}
	j.held = f
	return nil
}

func (j *JoinFile) publish(f *os.File) error {
	if err := lockFile(f); err != nil {
		return fmt.Errorf("lock join file %s: %w", f.Name(), err)
	}
	if _, err := f.WriteString(j.url.String() + "\n"); err != nil {
		return fmt.Errorf("write join file: %w", err)
	}
	for {
		// renameat2(2), Linux 3.15: if two coordinators publish at once, one wins.
		err := unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, j.path,
			unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINVAL): // the file system has only plain renames
			if err := os.Rename(f.Name(), j.path); err != nil {
				return fmt.Errorf("write join file: %w", err)
			}
			return nil
		case !errors.Is(err, unix.EEXIST):
			return fmt.Errorf("write join file %s: %w", j.path, err)
		}
		if err := removeStale(j.path); err != nil {
			return err
		}
	}
}

// removeStale removes the join file at path if no process holds its lock.
func removeStale(path string) error {
	f, err := openJoin(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lockFile(f); errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("join file %s: %w", path, ErrRunning)
	} else if err != nil {
		return fmt.Errorf("lock join file %s: %w", path, err)
	}
	begin := make([]byte, len(joinScheme))
	if n, err := io.ReadFull(f, begin); n > 0 && string(begin[:n]) != joinScheme[:n] {
		return fmt.Errorf("join file %s: it is not a join file; move it away, or use another path", path)
	} else if err != nil && !errors.Is(err, io.EOF) &&
		!errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read join file: %w", err)
	}
	// The lock is held, so that the file is stale. But path may name another file now,
	// which may be in use.
	if isAt(f, path) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove join file: %w", err)
		}
	}
	return nil
}

// lockFile takes the write lock on the whole file, or fails with EAGAIN.
func lockFile(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// isAt reports whether f is the file at path.
func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there)
}

// openJoin opens a join file that belongs to this user.
func openJoin(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("join file: %w", err)
	}
	if err := checkPrivate(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("join file: %w", err)
	}
	return f, nil
}

// readLiveJoin returns the URL of the running coordinator that holds the join file at
// path. If there is no file, or a stale one, the error wraps fs.ErrNotExist.
func readLiveJoin(path string) (JoinURL, error) {
	f, err := openJoin(path)
	if err != nil {
		return JoinURL{}, err
	}
	defer f.Close()
	// F_OFD_GETLK queries the lock. Taking it would get in the way of others.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return JoinURL{}, fmt.Errorf("look for the lock of join file %s: %w", path, err)
	}
	if lock.Type == unix.F_UNLCK {
		return JoinURL{}, fmt.Errorf("join file %s is stale: %w", path,
			fs.ErrNotExist)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return JoinURL{}, fmt.Errorf("read join file: %w", err)
	}
	return ParseJoinURL(strings.TrimSuffix(string(text), "\n"))
}

// Withdraw removes the file and releases the lock. Restore undoes it.
func (j *JoinFile) Withdraw() {
	if j == nil || j.held == nil {
		return
	}
	if isAt(j.held, j.path) {
		_ = os.Remove(j.path)
	}
	_ = j.held.Close()
	j.held = nil
}

// Close withdraws the file permanently.
func (j *JoinFile) Close() error {
	j.Withdraw()
	return nil
}
