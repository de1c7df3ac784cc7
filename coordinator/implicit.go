package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// implicitTimeout limits the start of the implicit coordinator.
	implicitTimeout = 10 * time.Second
	// implicitPoll is how often Implicit looks for the join file, and for the lock of the
	// process that starts a coordinator. A goroutine cannot wait for a rename or a lock
	// and for a context together. One look costs about 10 us.
	implicitPoll = 2 * time.Millisecond

	// ImplicitIdleExit is the IdleExit of an implicit coordinator.
	ImplicitIdleExit = 30 * time.Second
)

// An ImplicitConfig configures Implicit.
type ImplicitConfig struct {
	Dir string // empty: RuntimeDir

	// Spawn starts a coordinator in its own session (setsid(2)), with the IdleExit
	// ImplicitIdleExit. The coordinator uses the state file, and writes the join file
	// when it is ready. Spawn does not wait for it. The log goes into the same directory,
	// see ImplicitLog. Without Spawn, Implicit fails with ErrNotRunning.
	Spawn func(stateFile, joinFile string) error
}

// Implicit returns the join URL of the coordinator for this user, this host and this
// network namespace. It starts the coordinator if there is none. If several processes
// call it at the same time, one of them starts the coordinator. Files of a dead
// coordinator do no harm. Implicit waits for at most 10 s, or until ctx ends.
func Implicit(ctx context.Context, cfg ImplicitConfig) (JoinURL, error) {
	u, err := implicit(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		// A supervisor has just removed the empty directory at its end.
		u, err = implicit(ctx, cfg)
	}
	if err != nil {
		return u, fmt.Errorf("coordinator of this user: %w", err)
	}
	return u, nil
}

func implicit(ctx context.Context, cfg ImplicitConfig) (JoinURL, error) {
	dir := cfg.Dir
	var err error
	if dir == "" {
		dir, err = RuntimeDir()
	} else {
		err = makePrivateDir(dir)
	}
	if err != nil {
		return JoinURL{}, err
	}
	base, err := implicitBase(dir)
	if err != nil {
		return JoinURL{}, err
	}
	// In the common case the coordinator is running, and no lock is needed.
	joinFile := base + ".join"
	if u, err := readLiveJoin(joinFile); !errors.Is(err, fs.ErrNotExist) {
		return u, err
	}
	if cfg.Spawn == nil {
		return JoinURL{}, ErrNotRunning
	}
	ctx, cancel := context.WithTimeoutCause(ctx, implicitTimeout,
		fmt.Errorf("it did not start in %v; see %s", implicitTimeout,
			ImplicitLog(joinFile)))
	defer cancel()
	lock, err := lockStart(ctx, base+".lock")
	if err != nil {
		return JoinURL{}, err
	}
	defer lock.Close()
	if u, err := readLiveJoin(joinFile); !errors.Is(err, fs.ErrNotExist) {
		return u, err // another process has started it meanwhile
	}
	if err := cfg.Spawn(base+".state", joinFile); err != nil {
		return JoinURL{}, fmt.Errorf("start: %w", err)
	}
	var u JoinURL
	err = poll(ctx, func() (bool, error) {
		u, err = readLiveJoin(joinFile)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, err
	})
	return u, err
}

// ImplicitLog returns the name of the log file that goes with a join file.
func ImplicitLog(joinFile string) string {
	return joinFile[:len(joinFile)-len(filepath.Ext(joinFile))] + ".log"
}

// implicitBase returns the prefix of all file names of the coordinator. It differs for
// each network namespace, since each one has its own 127.0.0.1.
func implicitBase(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return "", fmt.Errorf("network namespace: %w", err)
	}
	return filepath.Join(dir, "coordinator-"+strconv.FormatUint(st.Ino, 10)), nil
}

// lockStart takes the lock of the process that starts the coordinator.
func lockStart(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	err = poll(ctx, func() (bool, error) {
		err := lockFile(f)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// poll calls f until it returns true, or until ctx ends.
func poll(ctx context.Context, f func() (done bool, err error)) error {
	tick := time.NewTicker(implicitPoll)
	defer tick.Stop()
	for {
		if done, err := f(); done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
