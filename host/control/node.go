package control

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/host"
)

// A Node is what a supervisor offers to the owner of its node.
type Node interface {
	Describe() Description

	// Exec runs a command as a part of the node. The files stay the caller's.
	Exec(ctx context.Context, c Command, files Files) (Execution, error)

	// Signal sends a signal to the program.
	Signal(s syscall.Signal) error

	// SetListed lists the node under its name, or not any more.
	SetListed(ctx context.Context, listed bool) error

	// Log returns the program's output; nil: it is not kept.
	Log() *Log

	// Ended returns a channel that is closed when the program has ended, and Result has
	// how.
	Ended() <-chan struct{}
	Result() host.Result
}

// A Description says what a node is.
type Description struct {
	ID      uint32    `json:"id"`
	Name    string    `json:"name"`
	Argv    []string  `json:"argv"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// A Command is a command to run in a node.
type Command struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"` // NAME=value: added to the program's environment
	Dir  string   `json:"dir,omitempty"` // working directory; empty: the program's

	// Terminal gives the command a terminal of that size; nil: pipes.
	Terminal *host.WindowSize `json:"terminal,omitempty"`
}

// Files are the standard streams of a command. Terminal says that they are one terminal,
// which is to control the command.
type Files struct {
	Stdin, Stdout, Stderr *os.File
	Terminal              bool
}

// An Execution is a command that runs in a node.
type Execution interface {
	Wait() int // the exit code, 128+N for signal N
	Signal(s syscall.Signal) error
}

// A request says what is to be done with a node.
type request struct {
	Do string `json:"do"` // one of the verbs

	Command *Command       `json:"command,omitempty"` // of doExec
	Signal  syscall.Signal `json:"signal,omitempty"`  // of doSignal
	Listed  bool           `json:"listed,omitempty"`  // of doList

	// Of doLogs: how many lines to begin with, negative: all; and whether to go on.
	Lines  int  `json:"lines,omitempty"`
	Follow bool `json:"follow,omitempty"`
	// Of doLogs: pass Signal frames on to the program, and send its result at the end.
	Attach bool `json:"attach,omitempty"`

	// Of doStop: the time from SIGTERM to SIGKILL.
	Grace host.Duration `json:"grace,omitzero"`
}

// The verbs.
const (
	doDescribe = "describe"
	doExec     = "exec"
	doSignal   = "signal"
	doStop     = "stop"
	doList     = "list"
	doLogs     = "logs"
)
