package launcher

import (
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// RunConfig says which program to run, and as which node.
type RunConfig struct {
	Argv    []string
	Join    coordinator.JoinURL
	Name    string    // empty: node-ID
	Version string    // of boxer; boxer status shows it
	Place   Place     // for who asks about the network
	Publish []Publish // ports of the host to forward into the node
	WaitFor []WaitFor // start the program when these nodes have joined

	WaitTimeout time.Duration // bounds that wait; zero: for ever

	// Offer, if not nil, are the ports at which other nodes may connect to this one. The
	// network's policy may allow fewer.
	Offer *policy.Ports

	// Env is the program's environment; nil: this process's, without a join URL.
	Env []string
	// Stdin, Stdout and Stderr are the program's; nil: this process's. The caller still
	// has to close them, and may do so as soon as Start has returned.
	Stdin, Stdout, Stderr *os.File

	Trace  *Trace       // nil: the program is not traced
	Logger *slog.Logger // nil: nothing is logged

	Congestion transport.Congestion // of the node's connections

	// DataPath is what the node takes part in. DataPathQUIC: none of its connections is
	// direct, whatever the network allows. Empty: as the network has it.
	DataPath coordinator.DataPath

	// see transport.PeerTimeout; zero: the default of transport.Timers
	PeerTimeout time.Duration
	Interposer  InterposerKind // how boxer takes calls; empty: InterposerAuto

	// Drain bounds how long the supervisor stays after the program's end, so that peers
	// can read what the program wrote. 0: as long as they read; negative: not at all.
	Drain time.Duration

	Asleep Asleep // what connects to nodes do that are asleep; empty: AsleepWait

	// Ready says when the node is listed under its name; nil: as soon as it joins.
	Ready *ReadyWhen

	// Commands serves a connection of somebody who wants to control the program. It must
	// find out whether the other end may, and return when the connection ends. It is
	// called from goroutines of its own. Nil: there are no such connections.
	Commands func(*Program, *CommandConn)

	Link *Link // nil: none
	Hold Hold  // delays the program's start

	// Executable is the path of the file that boxer-init executes. Its main function must
	// call [IsInit] and [Init] first. Empty: this process's own file.
	Executable string

	// Effects are what Start may do to the process as a whole.
	Effects Effects

	// interposer makes the node's Interposer in tests; nil: newInterposer.
	interposer func(rows []syscalls.Entry, own namespaces) (Interposer, error)
}

// A Place is where a node runs, and what that costs.
type Place struct {
	Name   string // such as lambda:worker; empty: an ordinary host
	Memory int    // MB that are billed; 0: unknown
}

// Effects are the changes that a node makes to its process as a whole. A command such as
// boxer run, which exists only for its program, wants all of them. A program that uses
// this package as a library wants none. Only one node of a process can have effects at a
// time.
type Effects struct {
	// Signals: this process forwards SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM,
	// SIGTERM, SIGCONT, SIGTSTP and SIGWINCH to the program. Before the program runs, a
	// signal that would end a program ends Start. After the program's end, the first such
	// signal ends the wait for the peers; later ones have no effect, because the exit
	// code is the program's.
	Signals bool
	// JobControl: this process stops when a signal stops the program, and continues with
	// it, as a shell expects of its job.
	JobControl bool
	// Reaper: this process becomes a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)). If
	// boxer-init is killed, its descendants become children of this process, which kills
	// them. It spares the children that it had before Start. Without Reaper, only the
	// program itself is killed then.
	Reaper bool
	// Processors: the node changes GOMAXPROCS, see [ShareProcessors].
	Processors bool
	// Descriptors: descriptors from 3 on without the close-on-exec flag belong to the
	// program. The node serves the sockets among them, and this process closes them.
	Descriptors bool
	// ServiceManager: this process forwards the program's messages to the service manager
	// that started it (NOTIFY_SOCKET, sd_notify(3)).
	ServiceManager bool
}

// self returns what the node tells the coordinator about itself.
func (c *RunConfig) self(own *net.UDPConn) self {
	s := self{name: c.Name, program: c.Version, offered: c.Offer, own: own, unlisted: c.Ready != nil,
		asleep: c.Asleep}
	if c.PeerTimeout > 0 {
		s.timers = transport.PeerTimeout(c.PeerTimeout)
	}
	return s
}

// streams returns the descriptors that become the program's 0, 1 and 2.
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
