package launcher

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/resolver"
	"github.com/boxer-sandbox/boxer/sandbox"
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

	Trace  *Trace // nil: the program is not traced
	Logger *slog.Logger

	Congestion transport.Congestion // of the node's connections

	// see transport.PeerTimeout; zero: the default of transport.Timers
	PeerTimeout time.Duration
	Interposer  InterposerKind // how calls are taken; empty: InterposerAuto

	// Drain bounds how long the supervisor outlives its program until the peers have
	// read what the program wrote. 0: for as long as they read; negative: not at all.
	Drain time.Duration

	Link *Link // nil: none
	Hold Hold  // holds the program back
}

// Run runs a program as a node and returns its exit code. With an error and the code 0,
// the program has ended, and not all that it wrote is delivered. With another code and an
// error, either that, or it has not run, or not to its end; *ExitError has an exit code
// then.
func Run(ctx context.Context, cfg RunConfig) (int, error) {
	if cfg.Interposer == InterposerSeccomp {
		if err := sandbox.CheckKernel(); err != nil {
			return ExitBoxer, err
		}
	}
	shareProcessors()
	inheritedFDs := inheritedFDs()
	go newIdentity()
	choose := cfg.Interposer.choosing()
	signals, err := catchSignals()
	if err != nil {
		return ExitBoxer, err
	}
	defer signals.Close()
	c, err := prepare()
	if err != nil {
		return ExitBoxer, err
	}
	// Until the program runs, signals are for us.
	ctx, cancel := context.WithCancelCause(ctx)
	startupSignals := newStartupSignals(signals, "before the program was started", cancel)
	n, err := newNode(ctx, cfg, c.own, choose)
	if err == nil {
		n.startLink(cfg.Link)
		err = n.await(ctx, cfg)
	}
	if err == nil {
		err = cfg.Hold.wait(ctx)
	}
	startupSignals.stop()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		c.abandon()
		return exitOf(err), errors.Join(err, n.close())
	}
	_, byFilter := n.interposer.(*filtered) // which boxer-init is under, too
	if r := n.recorder.Load(); r != nil && byFilter {
		r.skipProcess(c.init)
	}
	for _, fd := range append([]int{0, 1, 2}, inheritedFDs...) {
		n.calls.Adopt(fd)
	}
	o := startRequest{Argv: cfg.Argv, Signals: startedWith()}
	if n.notify, err = startNotifier(cfg.Logger); err != nil {
		c.abandon()
		return ExitBoxer, errors.Join(err, n.close())
	}
	o.Notify = n.notify.socket()
	if w, ok := n.member.client.Will(); ok {
		o.Will = &w
	}
	if c.own.named {
		o.Hostname = n.member.client.Self().Name
	}
	// It is there before the program: a boxer inside of it asks at once.
	n.attaching = n.serveAttach(attachAnswer{
		Name: n.member.client.Self().Name, Program: cfg.Argv[0],
		Trapped: cfg.Trace != nil,
	})
	if c.own.mounted {
		o.Cover = &cover{ProcNet: n.calls.ProcNet(), SysClassNet: n.calls.SysClassNet()}
	}
	if err := n.interposer.start(c, o, n.calls.Answer); err != nil {
		n.interposer.wait() // no process is left
		return exitOf(err), errors.Join(err, n.close())
	}
	closeAll(inheritedFDs)
	about := func() coordinator.About {
		return coordinator.About{Command: filepath.Base(cfg.Argv[0]),
			Ports: n.calls.ListeningPorts()}
	}
	n.member.about.Store(&about)
	n.attaching.begin(c.pid)
	n.notify.setMain(c.pid)
	n.member.client.OnWill(func(w coordinator.Will) { c.tell(initCommand{Will: &w}) })
	code, err := n.supervise(c, signals, cfg.Drain)
	return code, errors.Join(err, n.close())
}

// self returns what the node says of itself.
func (c *RunConfig) self(own *net.UDPConn) self {
	s := self{name: c.Name, program: c.Version, own: own}
	if c.PeerTimeout > 0 {
		s.timers = transport.PeerTimeout(c.PeerTimeout)
	}
	return s
}

func exitOf(err error) int {
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	return ExitBoxer
}

// A node is all that a supervisor holds.
type node struct {
	member     *member
	join       coordinator.JoinURL
	aliases    *syscalls.Aliases
	names      *resolver.Server
	calls      *syscalls.Node
	ports      []*publisher
	interposer interposer

	notify *notifier // nil: no service manager

	recorder atomic.Pointer[recorder] // holds nil: nothing is traced

	recording sync.Mutex // held while recorder changes
	ending    bool       // by recording: no trace begins any more
	reason    string     // by recording: why the trace ends
	attaching *attachServer

	endLink func()
}

// newNode joins the network and makes what answers the program's calls. What
// it returns is to be closed also after an error.
func newNode(ctx context.Context, cfg RunConfig, own namespaces,
	choose func() (InterposerKind, error)) (_ *node, err error) {
	n := &node{join: cfg.Join, endLink: func() {}}
	rows := slices.Concat(syscalls.Table(), syscalls.CompatTable())
	if cfg.Trace != nil {
		rows = tracedRows(cfg.Trace.Select.Calls)
	}
	if n.interposer, err = newInterposer(choose, rows, own, cfg.watches(),
		cfg.Logger); err != nil {
		return n, err
	}
	if n.aliases, err = syscalls.ClaimAliases(); err != nil {
		return n, err
	}
	// Streams can come in as soon as we have joined, before there is a node to
	// deliver them to.
	ready := make(chan struct{})
	defer close(ready)
	n.member, err = join(ctx, cfg.Join, cfg.self(n.aliases.Claim()), cfg.Congestion,
		handlers{
			accept: func(s *transport.Stream) {
				<-ready
				if n.calls == nil {
					s.Reset()
					return
				}
				deliver(n.calls, network{n.member, &n.recorder}, s)
			},
			datagram: func(from uint32, d transport.Datagram) {
				<-ready
				if n.calls != nil {
					deliverDatagram(n.calls, network{n.member, &n.recorder}, from, d)
				}
			},
		}, cfg.Logger)
	if err != nil {
		return n, err
	}
	self := n.member.client.Self()
	n.names = resolver.New(resolver.Config{
		Names: directory{n.member.client}, Logger: cfg.Logger, Observe: n.question,
		// Only what the program sends comes there, so that n.calls is set by then.
		Admits: n.admits,
	})
	n.calls, err = syscalls.NewNode(syscalls.Config{
		Hostname: self.Name, OwnHost: own.named, OwnMounts: own.mounted, Addr: self.Addr,
		Prefix: n.member.client.Prefix(),
		Addr6:  self.Addr6, Prefix6: n.member.client.Prefix6(),
		Aliases: n.aliases, Network: network{n.member, &n.recorder},
		Datagrams: network{n.member, &n.recorder}, Logger: cfg.Logger,
		Resolver: proxies{n.aliases.Relay, n.names, n.observes}, CopyFD: sandbox.CopyFD,
	})
	if err != nil {
		return n, err
	}
	if cfg.Trace != nil {
		n.traceFrom(cfg.Trace)
	}
	for _, p := range cfg.Publish {
		pub, err := publish(p, n.calls, cfg.Logger)
		if err != nil {
			return n, err
		}
		n.ports = append(n.ports, pub)
	}
	return n, nil
}

// supervise serves a program that runs, until its tree has ended.
func (n *node) supervise(c *child, signals *os.File, drain time.Duration) (int, error) {
	forwarded := make(chan struct{})
	w := newForwarder(signals, c.pid, c.init)
	go func() {
		defer close(forwarded)
		w.run(signals)
	}()
	c.watch(noteStop)
	n.programEnded(c.pid, c.status)
	signals.SetReadDeadline(time.Now()) // from here on, they are not for the program
	<-forwarded
	signals.SetReadDeadline(time.Time{})
	// What came before the program's end was for the program: an old SIGTSTP would stop
	// this process while it waits for the peers, and the shell would see another stop.
	readWaiting(signals)
	served := n.interposer.wait()
	err := n.drain(drain, signals)
	return c.status, errors.Join(err, served, c.close())
}

// close ends what newNode began, in reverse.
func (n *node) close() error {
	var errs []error
	n.endLink()
	n.notify.close()
	if n.interposer != nil {
		errs = append(errs, n.interposer.close())
	}
	for _, p := range n.ports {
		p.close()
	}
	if n.calls != nil {
		errs = append(errs, n.calls.Close())
	}
	n.endTrace()
	n.attaching.close()
	if n.member != nil {
		errs = append(errs, n.member.close())
	}
	if n.names != nil {
		errs = append(errs, n.names.Close())
	}
	if n.aliases != nil {
		errs = append(errs, n.aliases.Release())
	}
	return errors.Join(errs...)
}
