package transport

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// This process holds in its memory what peers have sent and no program has read. Linux
// limits the same data by tcp_mem and by the SYN queue (tcp(7)). This package does so:
//
//   - A peer may send waitingWindow bytes on a stream before the stream is answered, or,
//     if this node has opened it, before this node has sent its header. It may have
//     waitingStreams such streams open.
//   - Then the window of the stream becomes answeredWindow, and grows as a program reads
//     the stream. The windows of a peer's streams together fit into the window of its
//     connection, so that unread streams do not hold up others. If there are too many
//     streams, their windows stay at waitingWindow and grow only as programs read them.
//   - The window of the connection limits what this node holds for one peer.
//   - If all peers together make this node hold too much, it resets the streams that hold
//     most.
const (
	// waitingWindow is about what TCP sends before its first acknowledgement: ten
	// segments (RFC 6928), in bytes.
	waitingWindow = 16 << 10
	// answeredWindow is the first window of a stream that was answered, in bytes. 1
	// Gbit/s at 20 ms needs 2.5 MB; the window grows to that in a few round trips.
	answeredWindow = 512 << 10
	// maxStreamWindow is the largest window of a stream, in bytes: 50 ms of 1 Gbit/s.
	maxStreamWindow = 6 << 20
	// minPeerMemory is enough for a few streams at the full rate, in bytes.
	minPeerMemory = 16 << 20
	// waitingStreams is how many unanswered streams a peer may have open.
	waitingStreams = 2048
	// maxStreams bounds the open streams of one peer.
	maxStreams = 1 << 15
	// streamsStep is the step in which the limit of open streams changes.
	streamsStep = 256

	// maxConns bounds the connections of one peer. After a glare there are two, and an
	// old one may linger.
	maxConns = 4
)

// A budget limits the memory for received data that no program has read.
type budget struct {
	all, peer int64         // limits of all peers together and of one, in bytes
	held      atomic.Int64  // bytes of all peers, quic-go's own overhead included
	exceeded  chan struct{} // capacity 1: a limit is exceeded
}

// tooMuch is the limit of one peer with quic-go's overhead, in bytes: see
// frameSorterEntry there. A peer also has several connections at times, each with a
// window of its own.
func (b *budget) tooMuch() int64 { return b.peer + b.peer/2 }

func newBudget(memory int64) *budget {
	if memory <= 0 {
		memory = defaultMemory()
	}
	return &budget{all: memory, peer: max(memory/8, minPeerMemory),
		exceeded: make(chan struct{}, 1)}
}

// An account counts what one peer uses of the budget, over all its connections.
type account struct {
	budget  *budget
	held    atomic.Int64 // bytes that were received and not read
	granted atomic.Int64 // bytes by which the windows of the streams exceed waitingWindow
}

// grant reports whether the window of a stream may become delta bytes larger, and counts
// that. It may not if all windows then exceed share of what the peer may hold.
func (a *account) grant(delta int64, share float64) bool {
	if a.budget.held.Load() > a.budget.all/2 {
		return false
	}
	if float64(a.granted.Add(delta)) <= share*float64(a.budget.peer) {
		return true
	}
	a.granted.Add(-delta)
	return false
}

// The shares of grant for streams that were just answered, and for streams that a program
// reads. The rest is for windows that do not grow.
const (
	answeredShare = 0.5
	growthShare   = 0.75
)

// accountAt returns the account of the peer at an address as QUIC knows it, nil if the
// address says nothing about who is there.
func (n *Node) accountAt(addr net.Addr) *account {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil
	}
	id, ok := fakeID(udp)
	if !ok {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.peers[id]; p != nil {
		return p.account
	}
	return nil
}

// enforceBudget resets streams when a limit is exceeded, until the node closes.
func (n *Node) enforceBudget() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.budget.exceeded:
			for n.relieve() {
			}
		}
	}
}

// relieve resets streams of the peer that holds most, if its limit or that of all peers
// is exceeded. It returns false if there was nothing to do.
func (n *Node) relieve() bool {
	held := make(map[*account][]*conn)
	for _, p := range n.peersSnapshot() {
		p.mu.Lock()
		for _, c := range p.conns {
			held[c.account] = append(held[c.account], c)
		}
		p.mu.Unlock()
	}
	var worst *account
	for a := range held {
		if worst == nil || a.held.Load() > worst.held.Load() {
			worst = a
		}
	}
	b := n.budget
	if worst == nil || b.held.Load() <= b.all && worst.held.Load() <= b.tooMuch() {
		return false
	}
	enough := func() bool {
		return b.held.Load() <= b.all/4*3 &&
			worst.held.Load() <= b.peer
	}
	resets := 0
	for _, s := range largest(held[worst]) {
		if enough() {
			break
		}
		s.cancel(codeReset)
		resets++
	}
	if resets > 0 {
		n.log.Warn("reset connections: their programs do not read, and the memory limit is reached",
			"peer", held[worst][0].peer.id, "connections", resets)
	}
	if enough() || worst.held.Load() == 0 {
		return resets > 0
	}
	for _, c := range held[worst] { // the data is in streams that were not accepted yet
		n.log.Warn("disconnected a peer: the memory limit of received data is reached", "peer",
			c.peer.id)
		c.quic.CloseWithError(codeBudget, "")
	}
	return false
}

// largest returns the streams that hold memory, those first that hold most.
func largest(conns []*conn) []*Stream {
	type holder struct {
		*Stream
		held int64
	}
	var holders []holder
	for _, c := range conns {
		c.mu.Lock()
		streams := slices.Collect(maps.Values(c.streams))
		c.mu.Unlock() // AllowStreamWindowIncrease locks in the other order
		for _, s := range streams {
			if held := buffered(s.quic); held > 0 {
				holders = append(holders, holder{s, held})
			}
		}
	}
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Compare(b.held, a.held) })
	list := make([]*Stream, len(holders))
	for i, h := range holders {
		list[i] = h.Stream
	}
	return list
}

// widen gives a stream answeredWindow if the account allows it.
func (s *Stream) widen() {
	const delta = answeredWindow - waitingWindow
	if s.conn.account.grant(delta, answeredShare) {
		s.noteGrant(delta)
		setReceiveWindow(s.quic, answeredWindow)
	}
}

// noteGrant notes that the window has grown; giveBack takes that back at the stream's
// end.
func (s *Stream) noteGrant(delta int64) {
	s.granted.Add(delta)
	if s.ended.Load()&readEnded != 0 {
		s.giveBack() // end may have been called before
	}
}

func (s *Stream) giveBack() { s.conn.account.granted.Add(-s.granted.Swap(0)) }

// count raises the limit of the peer's open streams by this one, which was answered.
func (s *Stream) count() {
	s.conn.limit.change(s.conn.quic, 1)
	s.counted.Store(true)
	if s.ended.Load() == readEnded|writeEnded {
		s.uncount() // end may have been called before
	}
}

func (s *Stream) uncount() {
	if s.counted.Swap(false) {
		s.conn.limit.change(s.conn.quic, -1)
	}
}

// A streamLimit is how many streams a peer may have open: waitingStreams, and those that
// were answered.
type streamLimit struct {
	mu       sync.Mutex
	answered int64
	limit    int64 // that QUIC enforces; 0: the first one
}

// change adds to the number of streams that were answered.
func (l *streamLimit) change(q quicConn, by int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered += by
	limit := min(waitingStreams+(l.answered+streamsStep-1)/streamsStep*streamsStep,
		maxStreams)
	if limit != max(l.limit, waitingStreams) {
		l.limit = limit
		setMaxIncomingStreams(q, limit)
	}
}

// A quicConn is the part of quic.Conn that this package uses.
type quicConn interface {
	Context() context.Context
	CloseWithError(quic.ApplicationErrorCode, string) error
	OpenStream() (*quic.Stream, error)
	OpenStreamSync(context.Context) (*quic.Stream, error)
	OpenUniStreamSync(context.Context) (*quic.SendStream, error)
	AcceptStream(context.Context) (*quic.Stream, error)
	AcceptUniStream(context.Context) (*quic.ReceiveStream, error)
	SendDatagram([]byte) error
	ReceiveDatagram(context.Context) ([]byte, error)
}

var _ quicConn = (*quic.Conn)(nil)
