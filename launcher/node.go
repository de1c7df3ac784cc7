package launcher

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/resolver"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// A node has everything that a supervisor holds for one program.
type node struct {
	member     *member
	join       coordinator.JoinURL
	aliases    *syscalls.Aliases
	names      *resolver.Server
	calls      *syscalls.Node
	ports      []*publisher
	interposer Interposer
	serving    sync.WaitGroup // interposer.Serve
	served     error          // the result of Serve, once serving is done

	notify *notifier // nil: there is no service manager

	recorder atomic.Pointer[recorder] // holds nil while nothing is traced

	recording sync.Mutex // held while recorder changes
	ending    bool       // guarded by recording: no trace can begin any more
	reason    string     // guarded by recording: why the trace ends
	attaching *attachServer

	endLink func()

	program atomic.Pointer[Program] // holds nil: it has not started yet
}

// newNode joins the network and makes the parts that answer the program's calls. The
// caller must close the result also after an error.
func newNode(ctx context.Context, cfg RunConfig, own namespaces,
	identity func() (*transport.Identity, error),
	choose func() (InterposerKind, error)) (_ *node, err error) {
	n := &node{join: cfg.Join, endLink: func() {}}
	if n.aliases, err = syscalls.ClaimAliases(); err != nil {
		return n, err
	}
	// Streams can arrive as soon as this node has joined, before there is a syscalls.Node
	// to deliver them to.
	ready := make(chan struct{})
	defer close(ready)
	who := cfg.self(n.aliases.Claim())
	who.identity = identity
	n.member, err = join(ctx, cfg.Join, who, cfg.Congestion,
		handlers{
			trial: func(s *transport.Stream) {
				<-ready
				n.member.direct.Load().acceptTrial(s)
			},
			command: func(s *transport.Stream) {
				<-ready
				n.takeCommand(s)
			},
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
	direct := n.member.allowsDirect(cfg.DataPath)
	if n.interposer, err = cfg.makeInterposer(own, direct, choose); err != nil {
		return n, err
	}
	self := n.member.client.Self()
	n.names = resolver.New(resolver.Config{
		Names: directory{n.member.client}, Logger: cfg.Logger, Observe: n.question,
		// Only packets of the program arrive there, so n.calls is set by then.
		Admits: n.admits,
	})
	n.calls, err = syscalls.NewNode(syscalls.Config{
		Hostname: self.Name, OwnUTSNamespace: own.named, OwnMounts: own.mounted,
		Addr: self.Addr, Prefix: n.member.client.Prefix(),
		Addr6: self.Addr6, Prefix6: n.member.client.Prefix6(),
		Aliases: n.aliases, Network: network{n.member, &n.recorder},
		Datagrams: network{n.member, &n.recorder}, Logger: cfg.Logger,
		Resolver:  proxies{n.aliases.Relay, n.names, n.observes},
		Abilities: n.interposer.Abilities(), Direct: direct,
	})
	if err != nil {
		return n, err
	}
	if direct {
		n.member.openDirect(n.calls)
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

// makeInterposer makes the Interposer for the program's calls.
func (c *RunConfig) makeInterposer(own namespaces, direct bool,
	choose func() (InterposerKind, error)) (Interposer, error) {
	rows := slices.Concat(syscalls.Table(), syscalls.CompatTable())
	if c.Trace != nil {
		rows = tracedRows(c.Trace.Select.Calls)
	}
	rows = slices.DeleteFunc(rows, func(e syscalls.Entry) bool { return e.Direct && !direct })
	if c.interposer != nil {
		return c.interposer(rows, own)
	}
	return newInterposer(choose, rows, own, c.logging(direct), c.watches(),
		c.Effects.Processors, c.Logger)
}

// endInterposer closes the Interposer. The tree has ended, or was not started.
func (n *node) endInterposer() error {
	if n.interposer == nil {
		return nil
	}
	err := n.interposer.Close()
	n.serving.Wait()
	err, n.served = errors.Join(n.served, err), nil
	return err
}

// close undoes newNode and start, in reverse order.
func (n *node) close() error {
	var errs []error
	n.endLink()
	n.notify.close()
	errs = append(errs, n.endInterposer())
	for _, p := range n.ports {
		p.close()
	}
	if n.calls != nil {
		errs = append(errs, n.calls.Close())
	}
	for _, p := range n.ports {
		p.conns.Wait()
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
