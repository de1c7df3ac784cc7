package project

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// names are the names that a project may have, as docker compose has it.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// CheckName returns an error for what cannot be the name of a project.
func CheckName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("project name %q: use lower-case letters, digits, hyphens and underscores, with a letter or digit first, at most 63", name)
	}
	return nil
}

// The files in a project's directory.
const (
	controlFile = "ctl"            // the supervisor's socket
	lockFile    = "lock"           // held while there is a supervisor
	stateFile   = "state.json"     // see State
	joinFile    = "join.url"       // of the project's own network
	networkFile = "coordinator"    // state of that network's coordinator
	logFile     = "supervisor.log" // messages of the supervisor and the coordinator
	logsDir     = "logs"           // what the instances have written
	filesDir    = "files"          // secrets and configs
)

// A Dir is the directory of a project.
type Dir struct {
	Path string
	Name string // of the project
}

// dirOf returns the directory of a project below a runtime directory.
func dirOf(runtime, name string) Dir {
	return Dir{filepath.Join(runtime, "projects", name), name}
}

// Make returns the directory of a project, which it makes with mode 0700. runtime is the
// user's runtime directory.
func Make(runtime, name string) (Dir, error) {
	if err := CheckName(name); err != nil {
		return Dir{}, err
	}
	d := dirOf(runtime, name)
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return d, err
	}
	return d, nil
}

// Find returns the directory of a project, or an error that wraps ErrNoProject.
func Find(runtime, name string) (Dir, error) {
	if err := CheckName(name); err != nil {
		return Dir{}, err
	}
	d := dirOf(runtime, name)
	if _, err := os.Stat(d.Path); err != nil {
		return d, fmt.Errorf("project %s: %w", name, ErrNoProject)
	}
	return d, nil
}

// ErrNoProject means that there is no such project.
var ErrNoProject = errors.New("boxer up has not started it as this user on this host")

// List returns the directories of all projects.
func List(runtime string) ([]Dir, error) {
	entries, err := os.ReadDir(filepath.Join(runtime, "projects"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var all []Dir
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			all = append(all, dirOf(runtime, e.Name()))
		}
	}
	return all, err
}

func (d Dir) file(name string) string { return filepath.Join(d.Path, name) }

// Join returns the file with the join URL of the project's own network.
func (d Dir) Join() string { return d.file(joinFile) }

// Log returns the file with the messages of the supervisor.
func (d Dir) Log() string { return d.file(logFile) }

// From returns the directory with the project's files.
func (d Dir) From() (string, error) {
	st, err := d.readState()
	return st.Dir, err
}

// remove removes the directory, and those above it that are empty.
func (d Dir) remove() error {
	err := os.RemoveAll(d.Path)
	projects := filepath.Dir(d.Path)
	if unix.Rmdir(projects) == nil {
		_ = unix.Rmdir(filepath.Dir(projects)) // unless nodes run
	}
	return err
}

// lock takes the lock that a supervisor holds. It fails with unix.EWOULDBLOCK while there
// is one.
func (d Dir) lock() (*os.File, error) {
	f, err := os.OpenFile(d.file(lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Runs reports whether the project has a supervisor.
func (d Dir) Runs() bool {
	f, err := d.lock()
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}
