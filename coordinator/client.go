package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A ClientConfig says who joins which network.
type ClientConfig struct {
	URL  JoinURL
	Name string // see CheckName; empty means node-ID

	// Socket is the node's own: the coordinator sees the address of the very
	// socket that peers are to reach. It belongs to the caller.
	Socket   ClientSocket
	Identity *transport.Identity

	// HostID is the same for nodes that share machine and network namespace, and
	// says nothing else: at most 128 printable ASCII characters.
	HostID string

	// Program is the version of the node's program, for Snapshot: at most 128
	// printable ASCII characters.
	Program string

	// Timeout bounds Join; zero means DefaultTimeout.
	Timeout time.Duration

	Logger *slog.Logger // nil: none

	// OnSignal gets the signals to this node, in the order of each sender.
	// OnMember gets the other nodes as they come and go, beginning with those
	// that are there. Both are called one after the other on one goroutine, so a
	// node is up before its signals come; they may call every method of the
	// Client but Close. If both are nil, they can be given later by Deliver.
	OnSignal func(from uint32, msg []byte)
	OnMember func(m Member, up bool)

	probe prober // nil: probeSTUN; tests in virtual time have no socket of the kernel
}

// A Client is one node's membership. It stays joined: when the coordinator is
// gone or was started anew, the client goes on with the members that it knows,
// and joins again with its id, name and address. Its methods may be called from
// any goroutine.
type Client struct {
	cfg             ClientConfig
	dialer          dialer
	log             *slog.Logger
	self            Member
	prefix, prefix6 netip.Prefix
	dir             *directory
	dispatcher      *dispatcher

	ctx    context.Context // ends with Close or a final error
	cancel context.CancelCauseFunc
	all    sync.WaitGroup // the goroutines
	done   chan struct{}  // closed when ctx has ended and run has returned

	wills  sync.Mutex // held while onWill is called; before mu
	onWill func(Will)

	mu             sync.Mutex
	session        *clientSession // nil while there is no connection
	sessionChanged chan struct{}  // closed and replaced when line changes
	ticket         string
	server         netip.AddrPort
	reflexive      netip.AddrPort
	paths          []PathReport // as last reported
	about          *About       // likewise
	reported       bool
}

// Join joins the network of the URL. It waits for at most cfg.Timeout, and fails
// with an error that wraps ErrUnreachable, ErrPin, ErrToken, ErrExpired, ErrName,
// ErrFull, ErrProtocol or what ended ctx. Only the joining is bound to ctx.
func Join(ctx context.Context, cfg ClientConfig) (*Client, error) {
	c, err := join(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("join %s: %w", cfg.URL.Host, err)
	}
	return c, nil
}

func join(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if cfg.Name != "" {
		name, err := CheckName(cfg.Name)
		if err != nil {
			return nil, err
		}
		cfg.Name = name
	}
	if !isHostID(cfg.HostID) {
		return nil, fmt.Errorf("host id: want at most %d printable ASCII characters", maxHost)
	}
	if !isHostID(cfg.Program) {
		return nil, fmt.Errorf("program version: want at most %d printable ASCII characters", maxHost)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := dialer{cfg.URL, cfg.Socket, cfg.Identity, newDiagnosis(cfg.Logger)}
	if cfg.probe != nil {
		d.diagnosis.probe = cfg.probe
	}
	conn, err := d.dialWithin(ctx, &hello{Token: cfg.URL.Token, Name: cfg.Name, Host: cfg.HostID,
		Program: cfg.Program}, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, dialer: d, log: cfg.Logger,
		self: conn.welcome.Self, prefix: conn.welcome.Prefix,
		prefix6: conn.welcome.Prefix6,
		dir:     newDirectory(conn.plan), done: make(chan struct{}),
		sessionChanged: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.dispatcher = newDispatcher(c.self.ID, c.dir)
	if cfg.OnSignal != nil || cfg.OnMember != nil {
		c.Deliver(cfg.OnSignal, cfg.OnMember)
	}
	// Set up before Join returns, so that the members are known then.
	session := c.startSession(conn)
	c.all.Go(func() { c.run(session) })
	return c, nil
}

// run keeps the client joined until ctx ends.
func (c *Client) run(session *clientSession) {
	defer close(c.done)
	for {
		err := c.serve(session)
		c.dropSession()
		if c.ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrReplaced) || errors.Is(err, ErrEvicted) {
			c.log.Error("off the network", "cause", err)
			c.cancel(err)
			return
		}
		c.log.Warn("coordinator lost, joining again", "coordinator", c.cfg.URL, "cause", err)
		l, err := c.rejoin()
		if err != nil {
			c.cancel(err) // keeps the first cause
			return
		}
		session = c.startSession(l)
		c.log.Warn("joined again", "coordinator", c.cfg.URL) // seen where the loss was
	}
}

// refusedEvery is how often the log repeats why the coordinator refuses the node.
const refusedEvery = 10 * time.Minute

// rejoin makes attempts until the node is back, for ever: it fails only when ctx
// has ended or when the node cannot come back as who it was.
func (c *Client) rejoin() (*clientConn, error) {
	c.mu.Lock()
	h := &hello{Ticket: c.ticket, Host: c.cfg.HostID, Program: c.cfg.Program}
	c.mu.Unlock()
	var loggedAt time.Time
	var cause string
	conn, err := c.dialer.dialUntil(c.ctx, h, 1, func(err error) bool {
		// A coordinator that refuses the node for good, for its version above all, is
		// worth a word. That there is none has been said.
		if now := err.Error(); retryable(err) {
			c.log.Debug("joining again", "coordinator", c.cfg.URL, "cause", err)
		} else if !errors.Is(err, ErrEvicted) &&
			(now != cause || time.Since(loggedAt) >= refusedEvery) {
			cause, loggedAt = now, time.Now()
			c.log.Warn("the coordinator refuses this node, which goes on trying",
				"coordinator", c.cfg.URL, "cause", err)
		}
		return errors.Is(err, ErrEvicted)
	})
	if err != nil {
		if c.ctx.Err() == nil {
			c.log.Error("off the network", "cause", err)
		}
		return nil, err
	}
	if !conn.welcome.Self.same(c.self) {
		conn.close()
		return nil, fmt.Errorf("%w: the coordinator took the node for another",
			ErrEvicted)
	}
	return conn, nil
}

// Self returns the node itself, as the coordinator admitted it.
func (c *Client) Self() Member { return c.self }

// Prefix returns the network's IPv4 prefix.
func (c *Client) Prefix() netip.Prefix { return c.prefix }

// Prefix6 returns the network's IPv6 prefix; the zero Prefix if it has none.
func (c *Client) Prefix6() netip.Prefix { return c.prefix6 }

// Server returns the coordinator's UDP address, for STUN and relay too.
func (c *Client) Server() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// Reflexive returns the node's own UDP address as the coordinator saw it last.
func (c *Client) Reflexive() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reflexive
}

// Members returns the nodes on the network, this one included, in the order of
// their ids. While the coordinator is away these are the ones known last.
func (c *Client) Members() []Member {
	cards := c.dir.list()
	members := make([]Member, len(cards))
	for i := range cards {
		members[i] = c.dir.plan.member(cards[i])
	}
	return members
}

// LookupName returns the nodes that a name means, in either case: all that share
// it, in an order that begins with any of them, or the one whose ordinal name it is.
// It returns nil for a name that nobody has.
func (c *Client) LookupName(name string) []Member { return c.dir.lookup(name) }

// HadName reports whether a node of that name, in either case, has left less than a
// minute ago, the last one.
func (c *Client) HadName(name string) bool { return c.dir.hadName(name) }

// Doubt says that a node could not be reached from here, or that it could: for ten
// seconds LookupName leaves out such nodes where there are others.
func (c *Client) Suspect(id uint32, suspect bool) { c.dir.suspect(id, suspect) }

// ByID returns the node with that id.
func (c *Client) ByID(id uint32) (Member, bool) { return c.dir.id(id) }

// ByKey returns the node with that identity.
func (c *Client) ByKey(key transport.Key) (Member, bool) { return c.dir.key(key) }

// ByAddr returns the node with that virtual address, of either family; it may be
// IPv4-mapped.
func (c *Client) ByAddr(addr netip.Addr) (Member, bool) { return c.dir.addr(addr) }

// Count returns how many nodes the name, in either case, means.
func (c *Client) Count(name string) int {
	n, _ := c.dir.count(strings.ToLower(name))
	return n
}

// Wait waits until there are at least n nodes with that name, this one included.
// It fails when ctx ends, and says then how many there are, or when the client does.
func (c *Client) Wait(ctx context.Context, name string, n int) error {
	name = strings.ToLower(name)
	for {
		have, changed := c.dir.count(name)
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %d of %d nodes have joined: %w", name, have, n,
				context.Cause(ctx))
		case <-c.done:
			return fmt.Errorf("wait for %s: %w", name, c.Err())
		}
	}
}

// Deliver gives the client its handlers, where the configuration has none: for
// callers whose handlers need the Client itself. What came before is not lost:
// onMember gets every other node that is there, and up to signalsHeld signals
// have been kept. It may be called once.
func (c *Client) Deliver(onSignal func(from uint32, msg []byte),
	onMember func(m Member, up bool)) {
	c.dispatcher.enable()
	c.all.Go(func() { c.dispatcher.run(c.ctx, onSignal, onMember) })
}

// Done returns a channel that is closed when the client has left the network for
// good: by Close, or for the reason that Err gives.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client has left the network: ErrClosed, or an error that
// wraps ErrEvicted or ErrReplaced. It returns nil before Done is closed.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return context.Cause(c.ctx)
	default:
		return nil
	}
}

// Close leaves the network: the others are told at once. When it returns, no
// goroutine of the client is left and no handler runs. Later calls do nothing.
func (c *Client) Close() error {
	c.cancel(ErrClosed)
	c.all.Wait()
	return nil
}

// leaseOf returns the lease that the coordinator grants, within reason.
func leaseOf(w *welcome) time.Duration {
	if w.Lease <= 0 || w.Lease > time.Hour {
		return DefaultLease
	}
	return w.Lease
}
