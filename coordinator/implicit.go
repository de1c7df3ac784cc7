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
	// implicitTimeout bounds the start of the implicit coordinator.
	implicitTimeout = 10 * time.Second
	// implicitLook is how often Implicit looks for the join file, and for the lock
	// of who starts a coordinator: neither a rename nor a lock can be waited for
	// together with a context. A look costs some 10 us.
	implicitPoll = 2 * time.Millisecond

	// ImplicitIdleExit is the IdleExit of an implicit coordinator.
	ImplicitIdleExit = 30 * time.Second
)

// An ImplicitConfig says how to come by the implicit coordinator.
type ImplicitConfig struct {
	Dir string // empty: RuntimeDir

	// Spawn starts a coordinator of its own session (setsid(2)), that uses the
	// state file, writes the join file when it is ready, and has the IdleExit
	// ImplicitIdleExit. It does not wait for it. A log goes into the same
	// directory, see ImplicitLog. Without Spawn, Implicit fails with ErrNotRunning.
	Spawn func(stateFile, joinFile string) error
}

// Implicit returns the join URL of the coordinator for this user on this host and
// in this network namespace, and has it started if it is not there. Of several
// callers at once, one starts it. What a coordinator that is dead has left behind
// does no harm. Implicit waits for at most 10 s, or until ctx ends.
func Implicit(ctx context.Context, cfg ImplicitConfig) (JoinURL, error) {
	u, err := implicit(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		// A supervisor has removed the empty directory at its end, just now.
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
	// The common case needs no lock: it is there.
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
		return u, err // another caller has started it meanwhile
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

// implicitBase returns the path that the names of all files of the coordinator
// begin with: one for each network namespace, as 127.0.0.1 is another in each.
func implicitBase(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return "", fmt.Errorf("network namespace: %w", err)
	}
	return filepath.Join(dir, "coordinator-"+strconv.FormatUint(st.Ino, 10)), nil
}

// lockStart takes the lock that whoever starts the coordinator holds meanwhile.
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

// poll calls f until it says that it is done, or ctx ends.
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
