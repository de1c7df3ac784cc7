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

// Signaller carries one node's small messages to another through the
// coordinator, without a promise that they arrive.
type Signaller interface {
	Signal(ctx context.Context, to uint32, msg []byte) error
}

// Config is what a Node is made of. All functions may be called from any
// goroutine, also from several at a time, and should not wait.
type Config struct {
	Identity *Identity
	Socket   *Socket
	Self     uint32 // this node's id
	// names machine and network namespace; nodes with the same one reach each other's
	// loopback
	Host      string
	Server    netip.AddrPort // the coordinator's STUN service and relay; zero: none
	Signaller Signaller

	// Own, if not nil, is bound to a loopback address that is this node's alone on its
	// host, and is used for nothing else: neighbours find out by it that this node is on
	// their host, and which address is its own. It stays the caller's to close, after the
	// node.
	Own *net.UDPConn

	Lookup    func(id uint32) (Peer, bool) // the admitted nodes, by id
	LookupKey func(Key) (Peer, bool)       // and by key: others get no connection

	// Accept is called, in a goroutine of its own, for each stream that a peer
	// opens. It has to call Stream.Answer, and may go on using the stream after
	// it returns.
	Accept func(*Stream)
	// Datagram is called for each datagram from a peer, nil: they are dropped.
	// The payload is the callee's.
	Datagram func(from uint32, d Datagram)

	Congestion Congestion   // of the connections that this node sends on; zero: Reno
	Logger     *slog.Logger // nil: nothing is logged

	// Memory bounds what peers have sent and nobody has read yet, in bytes; one peer may
	// have an eighth of it, and 16 MiB. Zero: a sixteenth of the machine's, or of the
	// control group's.
	Memory int64

	Timers Timers
}

// Node is one end of the network: it keeps paths and connections to the other
// nodes. It may be used from any goroutine.
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

	datagramsQueued atomic.Int64 // that wait, for all peers
	lastDatagram    atomic.Int64 // when one was queued, in Unix nanoseconds

	// announced has how many early streams each peer may open, by destination.
	announced map[netip.AddrPort]int
}

// New starts a node on a socket, which stays the caller's to close, after the
// node.
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
	// Peers have shown with STUN that they are where they say. Anybody else has
	// to, before state is kept for them (RFC 9000 section 8.1.2).
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

// start runs f in a goroutine that Close waits for. It returns false if the node
// is closed.
func (n *Node) start(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Go(f)
	return true
}

// Close ends all connections with a word to the peers, and waits for all of
// the node's goroutines, Accept's among them. It may be called more than once.
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

// peer returns the state for an admitted node, which may be new.
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
		n.RemovePeer(Peer{id, p.key}) // the id has been given to another node
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

// RemovePeer ends the connections to a node that is gone, at once. It does nothing if
// another node, with another key, has got the id meanwhile.
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

// HandleSignal takes in a message that the node from has sent by its Signaller.
// It does not wait.
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

// Connect makes a connection to a node if there is none.
func (n *Node) Connect(ctx context.Context, id uint32) error {
	p, err := n.peer(id)
	if err != nil {
		return err
	}
	_, _, err = p.connection(ctx)
	return err
}

// openAttempts bounds how often Open tries a new connection when the one at hand
// ends under it: it may have been stale, and the next may lose against another one.
const openAttempts = 3

// Open opens a stream to a node and waits for the far side's answer, which may
// be a *StatusError. It makes a connection if there is none, and fails with
// ErrNoPath if that cannot be done within Timers.Connect, with ErrNoPeer if no
// such node is admitted, and with the cause of ctx when that ends. If another node
// gets the id meanwhile, as the replacement of a node that was killed does, it opens
// the stream to that one, as TCP's next SYN would reach it.
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

// Paths describes the path to each peer that there is one to.
func (n *Node) Paths() []PathInfo {
	var list []PathInfo
	for _, p := range n.peersSnapshot() {
		if info, ok := p.path(); ok {
			list = append(list, info)
		}
	}
	return list
}

// acceptConns takes the connections that peers have dialled.
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

// send sends a STUN message by a path to the node id.
func (n *Node) send(b []byte, way path, id uint32) {
	if way.relay {
		b = append(AppendRelayHeader(make([]byte, 0, relayHeaderSize+len(b)), id), b...)
	}
	// An error is a lost packet: all of them are sent again until answered.
	_ = n.config.Socket.WriteTo(b, way.to)
}

// handleSTUN takes in a STUN message. It is called on the reading goroutine.
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

// handleCheck answers an authentic check. Others get no answer, not even an
// error: the sender's address may be forged.
func (n *Node) handleCheck(m *stun.Message, way path, relayID uint32) {
	receiver, _, err := checkUsername(m)
	if err != nil || m.Contains(attrNeighbour) { // for Config.Own, not for this socket
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

// handleCheckAnswer takes in the answer to a check, if it is authentic and came
// by the way of the check (RFC 8445 section 7.2.5.2.1).
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
