package launcher

import (
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// RunConfig says what to run, and as which node.
type RunConfig struct {
	Argv    []string
	Join    coordinator.JoinURL
	Name    string    // empty: node-ID
	Version string    // of boxer, for who asks about the network
	Publish []Publish // ports of the host that lead into the node
	WaitFor []WaitFor // start the program when these are there

	WaitTimeout time.Duration // bounds that wait; zero: for ever

	// Env is the program's environment; nil: this process's, without a join URL.
	Env []string
	// Stdin, Stdout and Stderr are the program's; nil: this process's. They stay the
	// caller's to close, and may be closed once Start has returned.
	Stdin, Stdout, Stderr *os.File

	Trace  *Trace       // nil: the program is not traced
	Logger *slog.Logger // nil: nothing is logged

	Congestion transport.Congestion // of the node's connections

	// see transport.PeerTimeout; zero: the default of transport.Timers
	PeerTimeout time.Duration
	Interposer  InterposerKind // how calls are taken; empty: InterposerAuto

	// Drain bounds how long the supervisor outlives its program until the peers have
	// read what the program wrote. 0: for as long as they read; negative: not at all.
	Drain time.Duration

	Link *Link // nil: none
	Hold Hold  // holds the program back

	// Executable is the path of the file that becomes boxer-init: its main function
	// calls [IsInit] and [Init] first. Empty: this process's own.
	Executable string

	// Effects are what Start may do to the process as a whole.
	Effects Effects

	// interposer makes the node's Interposer in tests; nil: newInterposer.
	interposer func(rows []syscalls.Entry, own namespaces) (Interposer, error)
}

// Effects are what a node does to the process that it is in, beyond what belongs to the
// node. A command that exists only for its program, as boxer run does, wants all of them.
// A program that uses this package as a library wants none. Only one node of a process
// can have effects at a time.
type Effects struct {
	// Signals: SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCONT,
	// SIGTSTP and SIGWINCH go to the program. One that would end a program ends Start
	// before the program is there, and the wait for the peers after its end. Later ones
	// have no effect: the exit code is the program's.
	Signals bool
	// JobControl: this process stops when a signal stops the program, and continues with
	// it, as a shell expects of its job.
	JobControl bool
	// Reaper: this process becomes a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)). If
	// boxer-init is killed, all its descendants fall to this process, which kills them;
	// children that it had before Start are spared. Without Reaper only the program
	// itself is killed then.
	Reaper bool
	// Processors: the node changes GOMAXPROCS, see [ShareProcessors].
	Processors bool
	// Descriptors: descriptors from 3 on without close-on-exec flag belong to the
	// program: the node serves its sockets among them, and this process closes them.
	Descriptors bool
	// ServiceManager: messages of the program for the service manager that has started
	// this process (NOTIFY_SOCKET, sd_notify(3)) are passed on as this process's.
	ServiceManager bool
}

// self returns what the node says of itself.
func (c *RunConfig) self(own *net.UDPConn) self {
	s := self{name: c.Name, program: c.Version, own: own}
	if c.PeerTimeout > 0 {
		s.timers = transport.PeerTimeout(c.PeerTimeout)
	}
	return s
}

// streams returns the descriptors that are the program's 0, 1 and 2.
func (c *RunConfig) streams() [3]int {
	fds := [3]int{0, 1, 2}
	for i, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f != nil {
			fds[i] = int(f.Fd())
		}
	}
	return fds
}

// environ returns the program's environment.
func (c *RunConfig) environ() []string {
	if c.Env != nil {
		return c.Env
	}
	return withoutSecrets(os.Environ())
}
