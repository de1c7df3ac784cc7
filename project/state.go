package project

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"
)

// What an instance does.
const (
	Waiting    = "waiting" // for what it depends on, or for its turn
	Starting   = "starting"
	Running    = "running"
	Restarting = "restarting" // waits until it is started again
	Exited     = "exited"
)

// The health of an instance that has a health check.
const (
	HealthStarting  = "starting"
	HealthHealthy   = "healthy"
	HealthUnhealthy = "unhealthy"
)

// A State is what is known of a project. It has no secrets.
type State struct {
	Name      string          `json:"name"`
	Dir       string          `json:"dir"`
	Instances []InstanceState `json:"instances"`

	// Coordinator is the process of the project's own network, 0 if it has none, and
	// Began its start time, see InstanceState.
	Coordinator int    `json:"coordinator,omitempty"`
	Began       uint64 `json:"began,omitempty"`
}

// An InstanceState is what is known of an instance.
type InstanceState struct {
	Name    string `json:"name"` // SERVICE-N
	Service string `json:"service"`
	Index   int    `json:"index"` // from 1
	State   string `json:"state"`
	Health  string `json:"health,omitempty"`
	Host    string `json:"host,omitempty"` // empty: this host

	Command string `json:"command"`
	Node    string `json:"node"` // its name
	Addr    string `json:"addr,omitempty"`
	ID      uint32 `json:"id,omitempty"`

	PID        int `json:"pid,omitempty"`        // of boxer run
	ProgramPID int `json:"programPid,omitempty"` // of the program

	// Began tells a process from a later one with the same number: the start time of
	// PID, in clock ticks since boot.
	Began uint64 `json:"began,omitempty"`

	ExitCode int       `json:"exitCode"`
	Error    string    `json:"error,omitempty"` // why it is not what it should be
	Restarts int       `json:"restarts,omitempty"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Publish  []string  `json:"publish,omitempty"`
}

// active reports whether a program runs, or is to.
func (i *InstanceState) active() bool { return i.State != Exited }

// readState reads the state that the last supervisor has saved. Without one it is empty.
func (d Dir) readState() (s State, err error) {
	b, err := os.ReadFile(d.file(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return State{Name: d.Name}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// saveState replaces the state. Who reads sees the old one or the new one.
func (d Dir) saveState(s State) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	path := d.file(stateFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
