package syscalls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/landlock"
)

// A Network carries connections between nodes. All methods are mandatory, so that a
// second data path which lacks one does not compile.
type Network interface {
	// Dial opens a connection, and returns when the far side has accepted it. Its error
	// contains the errno for the program (see Errno): ECONNREFUSED if no program listens
	// there.
	Dial(ctx context.Context, o Opening) (Stream, error)
	// DialOptimistic opens a connection without waiting for the far side's answer, if the
	// far side has announced a listener there and credit for one more connection. ok is
	// false if the caller has to use Dial.
	DialOptimistic(o Opening) (s Stream, ok bool)
	// DialDirect prepares a connection to dst that the kernel's TCP carries, if the
	// owner of the network and both nodes allow bytes in the clear, TCP has been seen to
	// reach the host over there, and DialOptimistic would succeed. ok is false otherwise.
	DialDirect(dst netip.AddrPort) (d DirectDial, ok bool)
	// Announce tells each other node how many connections to dst, an address of this
	// node, it may open by DialOptimistic before the next announcement; 0 means none.
	Announce(dst netip.AddrPort, credit int)

	// SameHost reports whether the node with a virtual address is on this host and can be
	// reached over loopback.
	SameHost(addr netip.Addr) bool
	// ResolveLocal asks such a node for the kernel address of its listener at dst. near
	// is this node's loopback address there, src its virtual address, and socket the
	// cookie (SO_COOKIE) of the socket that will connect. Its errors are those of Dial;
	// ECONNREFUSED comes from the other node.
	ResolveLocal(ctx context.Context, near, src netip.Addr, dst netip.AddrPort,
		socket uint64) (netip.AddrPort, error)
}

// An Opening is a connection that is to be opened, as the far side has to know it.
type Opening struct {
	Source, Destination netip.AddrPort  // both virtual and of one family
	IP                  stream.IPFields // of the opener's packets
	MinTTL              uint8           // the opener refuses packets with a lower TTL
}

// A Stream is the far end of one connection.
type Stream = stream.Stream

// A Resolver represents the name servers that programs ask.
type Resolver interface {
	// Serves reports whether the resolver represents the server at an address. Other
	// servers receive the programs' questions, except for questions about the network's
	// names.
	Serves(server netip.Addr) bool
	// Proxy returns a loopback address that represents such a name server, over UDP and
	// TCP.
	Proxy(server netip.AddrPort) (netip.AddrPort, error)
	// Own returns the answer to a datagram for another server if it asks for a name of
	// the network, and otherwise nil: then the datagram goes to the server. It does not
	// block.
	Own(by Asker, query []byte) []byte
	// Answered is called with a datagram that such a server has sent to a program, while
	// the node is traced. It does not block.
	Answered(to Asker, answer []byte)
	// Dial connects to another server over TCP. The resolver answers questions in the
	// stream as Own does. The error contains the errno of connect(2).
	Dial(ctx context.Context, by Asker) (Stream, error)
}

// Config has the parameters of a Node.
type Config struct {
	Hostname        string // the result of uname(2), at most 64 bytes
	OwnUTSNamespace bool   // the tree has its own UTS namespace with that hostname
	// the tree has its own mount namespace, where /proc/net is the node's
	OwnMounts bool
	Addr      netip.Addr   // the virtual IPv4 address
	Prefix    netip.Prefix // the network's IPv4 addresses
	Addr6     netip.Addr   // the virtual IPv6 address; zero: none
	Prefix6   netip.Prefix // the network's IPv6 addresses; zero: none
	Aliases   *Aliases     // the caller releases them after Close
	Network   Network
	Datagrams Datagrams    // nil: no UDP between nodes
	Abilities              // of the interposer
	Resolver  Resolver     // nil: the host resolves names
	Logger    *slog.Logger // nil: nothing is logged
	// Direct: the kernel's TCP may carry connections between hosts, see AcceptDirect.
	Direct bool
}

// A Node answers the calls of one supervised process tree. Its methods may be
// called from any goroutine.
type Node struct {
	// loggedWaits has the logged calls that wait, by thread. It belongs to logged.
	loggedWaits map[int]loggedWait
	core
	udp *udp

	// calls
	waiting   waiting
	readiness *readiness
	landlock  restrictions
	netlinks  netlinks
	hostname  hostname
	options   options
	emulator  emulator // only where calls are traced

	// TCP
	gates           gates
	ports           ports
	listeners       listeners
	peers           peers
	chosen          chosenSources
	pendingConnects pendingConnects
	ipChoices       ipChoices
	requeued        requeued
	budget          *budget
	sameHost        sameHostNodes
	vouched         vouched
	connWatcher     *linux.DestroyWatcher // nil: the kernel does not report ends of sockets
	directs         directConns
	directWatcher   *linux.DestroyWatcher // nil: as connWatcher
	relays          atomic.Int64          // relays that run
	// a relay has ended before the far side had confirmed its data, see Drain
	cut   atomic.Bool
	left  context.Context // ends with Drain
	leave context.CancelFunc
}

// NewNode makes a node; Close ends it.
func NewNode(c Config) (*Node, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g, err := newGate(c.Aliases.Relay, 0)
	if err != nil {
		return nil, err
	}
	n := &Node{core: core{Config: c, closed: g.closed}, gates: gates{v4: g},
		budget: newBudget()}
	n.udp = &udp{core: &n.core}
	n.listeners.core, n.listeners.ports, n.listeners.budget = &n.core, &n.ports, n.budget
	n.listeners.gate = g
	n.netlinks.core, n.emulator.Node = &n.core, n
	n.ipChosen.Store(hostTTL() != stream.DefaultTTL)
	n.netlinks.view = n.socketView
	if c.Addr6.IsValid() {
		if n.gates.v6, err = newGate(c.Aliases.Relay6, v6); err != nil {
			g.close()
			return nil, err
		}
	}
	n.landlock.Domains, n.landlock.log = landlock.NewDomains(), n.Logger
	n.hostname.Config = &n.Config
	n.vouched.isOpen = n.isOpen
	if n.readiness, err = newReadiness(); err != nil {
		return nil, errors.Join(err, g.close(), n.gates.v6.close())
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.left, n.leave = context.WithCancel(n.ctx)
	n.tasks.Go(func() { n.waiting.sweep(n.ctx) })
	n.listeners.watch()
	n.udp.watch()
	n.watchVouched()
	n.watchDirect()
	if n.Names != nil {
		n.Names.Use(true)
	}
	if n.Log != nil {
		n.Log.Deliver(n.logged)
	}
	return n, nil
}

// Close ends every waiting call and every connection, and waits for them, except for what
// callers of Accept's function run.
func (n *Node) Close() error {
	n.cancel()
	n.udp.flows.close()
	n.netlinks.close()
	for _, c := range []*linux.DestroyWatcher{n.listeners.watcher, n.udp.watcher,
		n.connWatcher, n.directWatcher} {
		if c != nil {
			c.Close()
		}
	}
	n.tasks.Wait()
	n.diag.Close()
	n.readiness.close()
	return errors.Join(n.gates.v4.close(), n.gates.v6.close())
}

// DeliverDatagram delivers a datagram from another node, with the fields of its IP
// header, to the program's socket with dst's port. It returns false if there is none; the
// caller then tells the sender.
func (n *Node) DeliverDatagram(src, dst netip.AddrPort, ip stream.IPFields,
	b []byte) bool {
	return n.udp.deliver(src, dst, ip, b)
}

// Unreachable handles the report of a far endpoint that its port is closed. The socket at
// the node's port dst had sent there. quote has the first bytes of that datagram.
func (n *Node) Unreachable(peer, dst netip.AddrPort, quote []byte) {
	n.udp.unreachable(peer, dst, quote)
}

// DeliverEcho delivers a peer's echo reply to the ping socket with the identifier of dst.
// msg is the request or the reply.
func (n *Node) DeliverEcho(peer netip.Addr, dst netip.AddrPort, ip stream.IPFields,
	msg []byte) {
	n.udp.deliverEcho(peer, dst, ip, msg)
}

// Drain waits, after the node's last process has ended, until the relays have sent what
// the programs wrote, and until queued datagrams are sent; or until ctx ends. It returns
// true if the far side has not confirmed all of it by ending its own direction.
func (n *Node) Drain(ctx context.Context) (unconfirmed bool, err error) {
	defer time.AfterFunc(drainGrace, n.leave).Stop()
	t := time.NewTicker(drainLook)
	defer t.Stop()
	for n.Relays() > 0 || !n.udp.flows.idle() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return true, fmt.Errorf("%d connections: %w", n.Relays(), ctx.Err())
		}
	}
	return n.cut.Load(), nil
}

const (
	// drainGrace is how long the far sides have to end their directions. Most do so at
	// once when they read the end of ours.
	drainGrace = 250 * time.Millisecond
	// drainLook is how often Drain checks. It runs once in a node's life.
	drainLook = time.Millisecond
)

// Relays returns the number of connections that run through this node.
func (n *Node) Relays() int { return int(n.relays.Load()) }
