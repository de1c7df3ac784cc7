package syscalls

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
)

// A Network carries connections between nodes.
type Network interface {
	// Dial opens a connection from src to dst, both virtual, and returns when
	// the far side has accepted it. Its error holds the errno for the program
	// (see Errno): ECONNREFUSED if nobody listens there.
	Dial(ctx context.Context, src, dst netip.AddrPort) (Stream, error)

	// Near reports whether the node with a virtual address is on this host, in
	// reach of its loopback.
	Near(addr netip.Addr) bool
	// Locate asks such a node where on this host the listener at dst is. near is
	// this node's loopback address there. Its errors are those of Dial;
	// ECONNREFUSED is the node's own word.
	Locate(ctx context.Context, near netip.Addr, dst netip.AddrPort) (netip.AddrPort, error)
}

// A Stream is one connection's far end: a reliable byte stream in each
// direction that ends as TCP's do. It may also have a method Wait() error, which
// waits until there is something to read: then no buffer is held meanwhile.
type Stream interface {
	io.ReadWriter
	CloseWrite() error // FIN: the peer reads EOF after what was written
	CloseRead() error  // whatever the peer still writes fails there
	Reset()            // RST in both directions
}

// A Resolver stands in for the name servers that programs ask.
type Resolver interface {
	// Proxy returns a loopback address that answers in place of the name
	// server at the given address, over UDP and TCP.
	Proxy(server netip.AddrPort) (netip.AddrPort, error)
}

// Config says what a Node is.
type Config struct {
	Hostname  string       // what uname(2) tells, at most 64 bytes
	Addr      netip.Addr   // the virtual address, IPv4
	Prefix    netip.Prefix // the network's addresses
	Aliases   *Aliases     // released by their owner, after Close
	Network   Network
	Datagrams Datagrams    // nil: no UDP to the network
	Resolver  Resolver     // nil: names are left to the host
	Logger    *slog.Logger // nil: none
}

// A Node answers the calls of one supervised process tree. Its methods may be
// called from any goroutine.
type Node struct {
	Config
	gate    *gate
	waiting waiting
	ports   ports // TCP
	peers   peers // TCP
	dns     dns

	neighbours neighbours

	datagramPorts ports // UDP
	flows         flows // UDP

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the node

	relays   atomic.Int64 // relays that run
	attempts attempts
	returned returned
}

// NewNode makes a node; Close ends it.
func NewNode(c Config) (*Node, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g, err := newGate(c.Aliases.Relay)
	if err != nil {
		return nil, err
	}
	n := &Node{Config: c, gate: g}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.tasks.Go(func() { n.waiting.sweep(n.ctx) })
	return n, nil
}

// Close ends every call that waits and every connection, and waits until that
// is done, except for what callers of Accept's function run.
func (n *Node) Close() error {
	n.cancel()
	n.flows.close()
	n.tasks.Wait()
	return n.gate.close()
}

// Relays returns the number of connections that run through this node.
func (n *Node) Relays() int { return int(n.relays.Load()) }
