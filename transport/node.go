package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v3"
	"github.com/quic-go/quic-go"
)

// Peer is an admitted node.
type Peer struct {
	ID  uint32
	Key Key
}

// Signaller carries one node's small messages to another one through the coordinator. It
// does not promise that they arrive.
type Signaller interface {
	Signal(ctx context.Context, to uint32, msg []byte) error
}

// Config configures a Node. The Node calls the functions from any goroutine, also from
// several at a time. They should not wait.
type Config struct {
	Identity *Identity
	Socket   *Socket
	Self     uint32 // this node's id
	// Host names the machine and the network namespace: nodes with the same Host reach
	// each other's loopback addresses.
	Host      string
	Server    netip.AddrPort // the coordinator's STUN service and relay; zero: none
	Signaller Signaller

	// Own, if not nil, is bound to a loopback address that this node alone has on its
	// host, and is used for nothing else. By it neighbours find out that this node is on
	// their host, and which address is its own. The caller closes it, after the node.
	Own *net.UDPConn

	Lookup func(id uint32) (Peer, bool) // the admitted nodes, by id
	// the same, by key: other keys get no connection
	LookupKey func(Key) (Peer, bool)

	// Accept is called for each stream that a peer opens, on a goroutine of its own. It
	// has to call Stream.Answer, and the stream may be used after Accept has returned.
	Accept func(*Stream)
	// Datagram is called for each datagram from a peer and owns its payload. nil:
	// datagrams are dropped.
	Datagram func(from uint32, d Datagram)

	// firstVersion has the node speak the first version of the protocol only, for tests.
	firstVersion bool

	// MayOpen reports whether a peer is told that programs listen at an address of this
	// node, and may then connect there without waiting. nil: every peer is told.
	MayOpen func(peer uint32, dst netip.AddrPort) bool

	Congestion Congestion   // of the connections that this node sends on; zero: Reno
	Logger     *slog.Logger // nil: nothing is logged

	// Memory bounds the received data that no program has read, in bytes. One peer may
	// have an eighth of it, but 16 MiB at least. Zero: a sixteenth of the memory of the
	// machine, or of the control group.
	Memory int64

	Timers Timers
}

// Node is this process's end of the network. It keeps paths and connections to the other
// nodes. Its methods may be called from any goroutine.
type Node struct {
	config   Config
	timers   Timers
	log      *slog.Logger
	listener *quic.Listener
	pending  pendingTable
	mapping  mapping

	ctx     context.Context // ends in Close, after the connections
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	budget    *budget
	newcomers newcomers

	conns sync.Map // *conn by its quicConn

	mu      sync.Mutex
	closed  bool
	peers   map[uint32]*peer
	byUfrag map[string]*peer // by this side's username fragment

	datagramsQueued atomic.Int64 // datagrams that wait, for all peers
	lastDatagram    atomic.Int64 // when one was queued, in Unix nanoseconds

	// announced has how many optimistic streams each peer may open, by destination.
	announced map[netip.AddrPort]int
}

// New starts a node on a socket. The caller closes the socket, after the node.
func New(config Config) (*Node, error) {
	switch {
	case config.Identity == nil, config.Socket == nil, config.Signaller == nil,
		config.Lookup == nil, config.LookupKey == nil, config.Accept == nil:
		return nil, errors.New("transport: incomplete configuration")
	}
	n := &Node{
		config:  config,
		timers:  config.Timers.withDefaults(),
		log:     config.Logger,
		mapping: mapping{answer: make(chan struct{}, 1), ask: make(chan struct{}, 1)},
		peers:   make(map[uint32]*peer),
		byUfrag: make(map[string]*peer),
		budget:  newBudget(config.Memory),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.config.Server = netip.AddrPortFrom(config.Server.Addr().Unmap(),
		config.Server.Port())
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	transport := config.Socket.QUIC()
	// A peer with a route has shown by STUN that it is where it says. Any other sender
	// has to do so before this side keeps state for it (RFC 9000 section 8.1.2).
	transport.VerifySourceAddress = func(addr net.Addr) bool {
		udp, ok := addr.(*net.UDPAddr)
		if !ok {
			return true
		}
		_, fake := fakeID(udp)
		return !fake
	}
	listener, err := transport.Listen(n.serverTLS(), n.listenConfig())
	if err != nil {
		n.cancel(ErrClosed)
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.listener = listener
	config.Socket.attach(&attachment{server: n.config.Server, stun: n.handleSTUN})
	n.start(n.acceptConns)
	n.start(n.enforceBudget)
	if config.Own != nil {
		config.Own.SetReadDeadline(time.Time{})
		n.start(n.serveOwn)
	}
	if n.config.Server.IsValid() {
		n.start(n.keepMapping)
	}
	return n, nil
}

// start runs f on a goroutine that Close waits for. It returns false if the node is
// closed.
func (n *Node) start(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Go(f)
	return true
}

// Close closes all connections, tells the peers, and waits for all goroutines of the
// node, those that run Accept among them. It may be called more than once.
func (n *Node) Close() error {
	n.mu.Lock()
	again := n.closed
	n.closed = true
	n.mu.Unlock()
	if !again {
		var closing sync.WaitGroup
		for _, p := range n.peersSnapshot() {
			closing.Go(func() { p.close(codeClosing, ErrClosed) })
		}
		closing.Wait()
		n.cancel(ErrClosed)
		n.config.Socket.attach(nil)
		if n.config.Own != nil {
			n.config.Own.SetReadDeadline(time.Unix(1, 0)) // ends serveOwn
		}
	}
	err := n.listener.Close()
	n.running.Wait()
	if again {
		return nil
	}
	return err
}

func (n *Node) peersSnapshot() []*peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*peer, 0, len(n.peers))
	for _, p := range n.peers {
		list = append(list, p)
	}
	return list
}

// peer returns the peer of an admitted node, which may be new.
func (n *Node) peer(id uint32) (*peer, error) {
	who, ok := n.config.Lookup(id)
	if !ok || id == n.config.Self {
		return nil, fmt.Errorf("node %d: %w", id, ErrNoPeer)
	}
	for {
		n.mu.Lock()
		p := n.peers[id]
		switch {
		case n.closed:
			n.mu.Unlock()
			return nil, ErrClosed
		case p == nil:
			p = n.addPeerLocked(who)
			fallthrough
		case p.key == who.Key:
			n.mu.Unlock()
			return p, nil
		}
		n.mu.Unlock()
		n.RemovePeer(Peer{id, p.key}) // another node has the id now
	}
}

func (n *Node) addPeerLocked(who Peer) *peer {
	ours := newCredentials()
	for n.byUfrag[ours.ufrag] != nil {
		ours = newCredentials()
	}
	p := newPeer(n, who, ours)
	n.peers[p.id] = p
	n.byUfrag[ours.ufrag] = p
	n.running.Go(p.run)
	return p
}

// RemovePeer closes the connections to a node that is gone, at once. It does nothing if
// another node, with another key, has the id by now.
func (n *Node) RemovePeer(who Peer) {
	id := who.ID
	n.mu.Lock()
	p := n.peers[id]
	if p == nil || n.closed || p.key != who.Key {
		n.mu.Unlock()
		return
	}
	delete(n.peers, id)
	delete(n.byUfrag, p.probes.ours.ufrag)
	n.mu.Unlock()
	p.close(codeRemoved, fmt.Errorf("node %d: %w", id, ErrNoPeer))
	n.pending.forget(p)
}

// HandleSignal handles a message that the node from has sent by its Signaller. It does
// not wait.
func (n *Node) HandleSignal(from uint32, msg []byte) {
	o, err := parseOffer(msg)
	if err != nil {
		n.log.Debug("signal", "peer", from, "err", err)
		return
	}
	p, err := n.peer(from)
	if err != nil {
		n.log.Debug("signal", "peer", from, "err", err)
		return
	}
	p.handleOffer(o)
}

// Connect makes a connection to a node if there is none. Its errors are those of Open.
func (n *Node) Connect(ctx context.Context, id uint32) error {
	p, err := n.peer(id)
	if err != nil {
		return err
	}
	_, _, err = p.connection(ctx)
	return err
}

// openAttempts bounds how often Open tries another connection when the current one ends
// before the answer: the first may have been stale, and the next one may lose against
// another one.
const openAttempts = 3

// Open opens a stream to a node and waits for the far side's answer. It makes a
// connection if there is none. It fails with a *StatusError if the far side refuses, with
// ErrNoPath if there is no connection within Timers.Connect, with ErrNoPeer if no such
// node is admitted, and with the cause of ctx when ctx ends. If another node gets the id
// meanwhile, as the replacement of a killed node does, Open opens the stream to that
// node, as TCP's next SYN would reach it.
func (n *Node) Open(ctx context.Context, id uint32, h Header) (*Stream, error) {
	p, err := n.peer(id)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		c, fresh, err := p.connection(ctx)
		if err != nil && p.ctx.Err() != nil && ctx.Err() == nil {
			if who, ok := n.config.Lookup(id); ok && who.Key != p.key {
				if p, err = n.peer(id); err == nil {
					continue
				}
			}
		}
		if err != nil {
			return nil, err
		}
		s, err := c.open(ctx, h)
		if err == nil {
			return s, nil
		}
		if attempt < openAttempts && errors.Is(err, errUnanswered) &&
			(!fresh || superseded(err)) {
			continue
		}
		return nil, fmt.Errorf("open %v on node %d: %w", h.Destination, id, err)
	}
}

// OpenExisting is Open over the connection that there is to the peer: it makes none. It
// fails with an error that matches ErrLost if there is no connection, or if that ends
// before the peer has answered.
func (n *Node) OpenExisting(ctx context.Context, id uint32, h Header) (*Stream, error) {
	p, err := n.peer(id)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		p.mu.Lock()
		c := p.current
		p.mu.Unlock()
		if c == nil || c.quic.Context().Err() != nil {
			return nil, fmt.Errorf("open %v on node %d: %w", h.Destination, id, ErrLost)
		}
		s, err := c.open(ctx, h)
		if err == nil || attempt == openAttempts || !superseded(err) {
			return s, err
		}
	}
}

// Paths returns the path in use to each peer that has one.
func (n *Node) Paths() []PathInfo {
	var list []PathInfo
	for _, p := range n.peersSnapshot() {
		if info, ok := p.path(); ok {
			list = append(list, info)
		}
	}
	return list
}

// acceptConns accepts the connections that peers dial until the node closes.
func (n *Node) acceptConns() {
	for {
		q, err := n.listener.Accept(n.ctx)
		if err != nil {
			return
		}
		who, err := n.identify(q.ConnectionState().TLS, q.RemoteAddr())
		var p *peer
		if err == nil {
			p, err = n.peer(who.ID)
		}
		if err != nil || p.key != who.Key {
			q.CloseWithError(codeStranger, "")
			n.newcomers.end(q)
			continue
		}
		p.add(q, false)
	}
}

// send sends a STUN message on a path to the node id.
func (n *Node) send(b []byte, way path, id uint32) {
	if way.relay {
		b = append(AppendRelayHeader(make([]byte, 0, relayHeaderSize+len(b)), id), b...)
	}
	// An error counts as a lost packet: the sender repeats the message until it is
	// answered.
	_ = n.config.Socket.WriteTo(b, way.to)
}

// handleSTUN handles a STUN message. The reading goroutine calls it.
func (n *Node) handleSTUN(b []byte, from netip.AddrPort, relayed relaySource) {
	m, err := parseSTUN(b)
	if err != nil {
		return
	}
	way := path{to: from, relay: relayed.ok}
	switch m.Type {
	case stun.BindingRequest:
		n.handleCheck(m, way, relayed.id)
	case stun.BindingSuccess:
		if !relayed.ok && n.handleMapping(m, from) {
			return
		}
		n.handleCheckAnswer(m, way, relayed.id)
	}
}

// handleCheck answers an authentic check. Any other one gets no answer, not even an
// error: the sender's address may be forged.
func (n *Node) handleCheck(m *stun.Message, way path, relayID uint32) {
	receiver, _, err := checkUsername(m)
	if err != nil || m.Contains(attrNeighbour) { // that is for Config.Own
		return
	}
	n.mu.Lock()
	p := n.byUfrag[receiver]
	n.mu.Unlock()
	if p == nil || way.relay && relayID != p.id || !authentic(m, p.probes.ours.password) {
		return
	}
	answer, err := answerCheck(m, way.to, p.probes.ours.password)
	if err != nil {
		return
	}
	n.send(answer, way, p.id)
	p.handleCheck(way)
}

// handleCheckAnswer handles the answer to a check if it is authentic and has taken the
// path of the check (RFC 8445 section 7.2.5.2.1).
func (n *Node) handleCheckAnswer(m *stun.Message, way path, relayID uint32) {
	c, ok := n.pending.get(m.TransactionID)
	if !ok || c.pair.path != way || way.relay && relayID != c.peer.id {
		return
	}
	c.peer.mu.Lock()
	password := c.peer.probes.theirs.password
	c.peer.mu.Unlock()
	mapped, err := mappedAddress(m)
	if err != nil || !authentic(m, password) {
		return
	}
	n.pending.remove(m.TransactionID)
	if c.proof {
		c.peer.handleProof(way.to)
		return
	}
	c.peer.handleAnswer(c, mapped)
}
