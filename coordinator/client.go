package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// A ClientConfig describes the node that joins, and the network.
type ClientConfig struct {
	URL  JoinURL
	Name string // see CheckName; empty means node-ID

	// Socket is the node's own UDP socket, since the coordinator reports the address of
	// this socket to the peers. It belongs to the caller.
	Socket   ClientSocket
	Identity *transport.Identity

	// HostID is equal for nodes that share a machine and a network namespace. It has no
	// other meaning. It has at most 128 printable ASCII characters.
	HostID string

	// Program is the version of the node's program, for Snapshot. It has at most 128
	// printable ASCII characters.
	Program string

	// Timeout bounds Join; zero means DefaultTimeout.
	Timeout time.Duration

	Logger *slog.Logger // nil: none

	// OnSignal receives the signals to this node, in the order in which each sender sent
	// them. OnMember is called when another node comes or goes, and first for each node
	// that is there. One goroutine calls both, so that a node is up before its signals
	// arrive. They may call every method of the Client except Close. If both are nil,
	// Deliver can set them later.
	OnSignal func(from uint32, msg []byte)
	OnMember func(m Member, up bool)

	// Unlisted joins the network unlisted, until SetPresence says otherwise.
	Unlisted bool

	probe prober // nil: probeSTUN. Tests in virtual time replace it
}

// A Client is the membership of one node. If the coordinator is unreachable or restarts,
// the client keeps the members that it knows, and joins again with its id, name and
// address. Any goroutine may call its methods.
type Client struct {
	cfg             ClientConfig
	dialer          dialer
	log             *slog.Logger
	self            Member
	prefix, prefix6 netip.Prefix
	dataPath        DataPath
	dir             *directory
	dispatcher      *dispatcher

	ctx    context.Context // ends with Close or with a permanent error
	cancel context.CancelCauseFunc
	all    sync.WaitGroup // all goroutines of the client
	done   chan struct{}  // closed when ctx has ended and run has returned

	onPolicy atomic.Pointer[func()] // see OnPolicy

	wills  sync.Mutex // held while onWill is called; taken before mu
	onWill func(Will)

	presences sync.Mutex // held in SetPresence; taken before mu

	mu             sync.Mutex
	presence       Presence
	session        *clientSession // nil while there is no connection
	sessionChanged chan struct{}  // closed and replaced when session changes
	ticket         string
	server         netip.AddrPort
	reflexive      netip.AddrPort
	paths          []PathReport // the last report
	about          *About       // the last report
	reported       bool
}

// Join joins the network of the URL. It waits for at most cfg.Timeout. Its error wraps
// ErrUnreachable, ErrPin, ErrToken, ErrExpired, ErrName, ErrFull or ErrProtocol, or the
// cause of ctx's end. ctx limits the join only, and not the membership.
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
	d := dialer{cfg.URL, cfg.Socket, cfg.Identity, newDiagnosis(cfg.Logger), nil}
	if cfg.probe != nil {
		d.diagnosis.probe = cfg.probe
	} else {
		d.detour = newDetourer(cfg.URL, cfg.Socket, cfg.Identity, cfg.Logger, probeSTUN)
	}
	presence := Presence{Unlisted: cfg.Unlisted}
	conn, err := d.dialWithin(ctx, &hello{Token: cfg.URL.Token, Name: cfg.Name, Host: cfg.HostID,
		Program: cfg.Program, Presence: &presence, Policies: true}, cfg.Timeout)
	if err != nil {
		d.detour.close()
		return nil, err
	}
	c := &Client{
		cfg: cfg, dialer: d, log: cfg.Logger,
		self: conn.welcome.Self, prefix: conn.welcome.Prefix,
		prefix6: conn.welcome.Prefix6, dataPath: conn.welcome.DataPath,
		dir: newDirectory(conn.plan), done: make(chan struct{}),
		sessionChanged: make(chan struct{}), presence: presence,
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.dispatcher = newDispatcher(c.self.ID, c.dir)
	if cfg.OnSignal != nil || cfg.OnMember != nil {
		c.Deliver(cfg.OnSignal, cfg.OnMember)
	}
	// This call precedes the return of Join, so that the members are known then.
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
			c.log.Error("off the network", "err", err)
			c.cancel(err)
			return
		}
		c.log.Warn("coordinator lost, joining again", "coordinator", c.cfg.URL, "err", err)
		l, err := c.rejoin()
		if err != nil {
			c.cancel(err) // the first cause counts
			return
		}
		session = c.startSession(l)
		// at the level of the message about the loss
		c.log.Warn("joined again", "coordinator", c.cfg.URL)
	}
}

// refusedEvery is how often the log repeats why the coordinator refuses the node.
const refusedEvery = 10 * time.Minute

// rejoin makes attempts until one succeeds. It fails only when ctx ends, or when the
// coordinator has given the node's address away.
func (c *Client) rejoin() (*clientConn, error) {
	c.mu.Lock()
	presence := c.presence
	h := &hello{Ticket: c.ticket, Host: c.cfg.HostID, Program: c.cfg.Program,
		Presence: &presence, Policies: true}
	c.mu.Unlock()
	var loggedAt time.Time
	var cause string
	conn, err := c.dialer.dialUntil(c.ctx, h, 1, func(err error) bool {
		// The log has already said that the coordinator is lost. It also says if the
		// coordinator refuses the node permanently, above all for its version.
		if now := err.Error(); retryable(err) {
			c.log.Debug("joining again", "coordinator", c.cfg.URL, "err", err)
		} else if !errors.Is(err, ErrEvicted) &&
			(now != cause || time.Since(loggedAt) >= refusedEvery) {
			cause, loggedAt = now, time.Now()
			c.log.Warn("the coordinator refuses this node; the node tries again",
				"coordinator", c.cfg.URL, "err", err)
		}
		return errors.Is(err, ErrEvicted)
	})
	if err != nil {
		if c.ctx.Err() == nil {
			c.log.Error("off the network", "err", err)
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

// DataPath returns what the network's owner lets carry the connections between nodes.
func (c *Client) DataPath() DataPath {
	if c.dataPath == "" {
		return DataPathQUIC
	}
	return c.dataPath
}

// Prefix6 returns the network's IPv6 prefix, or the zero Prefix if it has none.
func (c *Client) Prefix6() netip.Prefix { return c.prefix6 }

// Server returns the coordinator's UDP address. It also answers STUN and relays.
func (c *Client) Server() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// Detour says how packets reach the coordinator if not by UDP, such as "tls:443". It
// returns "" if they leave by UDP.
func (c *Client) Detour() string { return c.dialer.detour.current() }

// Reflexive returns the node's own UDP address as the coordinator last saw it.
func (c *Client) Reflexive() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reflexive
}

// Members returns the nodes on the network in the order of their ids, this node included.
// While the coordinator is unreachable, it returns the last known ones.
func (c *Client) Members() []Member {
	cards := c.dir.list()
	members := make([]Member, len(cards))
	for i := range cards {
		members[i] = c.dir.plan.member(cards[i])
	}
	return members
}

// LookupName returns the nodes with a name, in a random rotation, or the one node with
// that ordinal name. Letter case does not matter. It returns nil if no listed node has
// the name.
func (c *Client) LookupName(name string) []Member { return c.dir.lookup(name) }

// HadName reports whether the last node with that name has left within the last minute.
// Letter case does not matter.
func (c *Client) HadName(name string) bool { return c.dir.hadName(name) }

// Suspect records that this node could not reach another one, or that it could. For ten
// seconds LookupName omits a suspect while another node has the name.
func (c *Client) Suspect(id uint32, suspect bool) { c.dir.suspect(id, suspect) }

// Access returns the ports of this node to which another node may connect. Without a
// policy, these are all.
func (c *Client) Access(id uint32) policy.Ports { return c.dir.portsFor(id) }

// Restricted reports whether the network has a policy that does not allow everything.
func (c *Client) Restricted() bool { return c.dir.isRestricted() }

// OnPolicy makes the client call f whenever what Access returns may have changed. f must
// not wait.
func (c *Client) OnPolicy(f func()) { c.onPolicy.Store(&f) }

// ByID returns the node with that id.
func (c *Client) ByID(id uint32) (Member, bool) { return c.dir.id(id) }

// ByKey returns the node with that identity.
func (c *Client) ByKey(key transport.Key) (Member, bool) { return c.dir.key(key) }

// ByAddr returns the node with that virtual address, which may be IPv4, IPv6 or
// IPv4-mapped.
func (c *Client) ByAddr(addr netip.Addr) (Member, bool) { return c.dir.addr(addr) }

// Count returns the number of listed nodes with that name. Letter case does not matter.
func (c *Client) Count(name string) int {
	n, _ := c.dir.count(strings.ToLower(name))
	return n
}

// Wait waits until at least n listed nodes have that name, this node included. It fails
// when ctx or the client ends. The error for ctx says how many nodes there are.
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

// Deliver sets the handlers, for callers whose handlers need the Client itself. The
// configuration must have none then. No event is lost: onMember is called for every node
// that is there, and the client has kept up to maxQueuedSignals signals. Deliver may be
// called once.
func (c *Client) Deliver(onSignal func(from uint32, msg []byte),
	onMember func(m Member, up bool)) {
	c.dispatcher.enable()
	c.all.Go(func() { c.dispatcher.run(c.ctx, onSignal, onMember) })
}

// Heartbeat tells the coordinator at once that this node is alive, as it does regularly.
func (c *Client) Heartbeat() {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if session != nil {
		notify(session.pinged)
	}
}

// Done returns a channel that is closed when the client has left the network permanently:
// by Close, or for the reason that Err returns.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client has left the network: ErrClosed, or an error that wraps
// ErrEvicted or ErrReplaced. It returns nil before Done is closed.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return context.Cause(c.ctx)
	default:
		return nil
	}
}

// Close leaves the network, and the coordinator tells the other nodes at once. When Close
// returns, all goroutines of the client have ended and no handler runs. Later calls do
// nothing.
func (c *Client) Close() error {
	c.cancel(ErrClosed)
	c.all.Wait()
	c.dialer.detour.close()
	return nil
}

// leaseOf returns the lease that the coordinator grants, or the default if it is absurd.
func leaseOf(w *welcome) time.Duration {
	if w.Lease <= 0 || w.Lease > time.Hour {
		return DefaultLease
	}
	return w.Lease
}
