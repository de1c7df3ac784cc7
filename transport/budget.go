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

// What peers have sent and no program has read yet lies in this process's memory. Linux
// bounds the same by tcp_mem and by the SYN queue (tcp(7)), and so does this package:
//
//   - A peer may send little on a stream before the stream is answered, or, if this node
//     has opened it, before its header was sent: waitingWindow. It may have few such
//     streams open: waitingStreams.
//   - Then the window of the stream becomes answeredWindow, and grows as the stream is
//     read. The windows of a peer's streams fit into the window of its connection, so
//     that streams which nobody reads hold up no others: where there are too many, they
//     stay at waitingWindow, and grow only as they are read.
//   - The window of the connection bounds what one peer can make this node hold.
//   - If all peers together hold too much, the streams that hold most of it are reset.
const (
	// waitingWindow is about what TCP sends before its first acknowledgement, in bytes:
	// ten segments (RFC 6928).
	waitingWindow = 16 << 10
	// answeredWindow is the window of a stream that a program has, in bytes, before it
	// has grown. 1 Gbit/s at 20 ms has 2.5 MB under way; a stream gets there from this
	// window in a few round trips.
	answeredWindow = 512 << 10
	// maxStreamWindow is how far it grows, in bytes: room for 50 ms of 1 Gbit/s.
	maxStreamWindow = 6 << 20
	// minPeerMemory lets a peer have a few streams at the full rate, in bytes.
	minPeerMemory = 16 << 20
	// waitingStreams is how many streams that were not answered a peer may have open.
	waitingStreams = 2048
	// maxStreams bounds the streams that one peer may have open at a time.
	maxStreams = 1 << 15
	// streamsStep is by how many the limit of streams changes at a time.
	streamsStep = 256

	// maxConns bounds the connections of one peer. Two exist after a glare, and an
	// old one may linger.
	maxConns = 4
)

// A budget bounds the memory of received data that nobody has read.
type budget struct {
	all, peer int64         // bytes: of all peers together, and of one
	held      atomic.Int64  // bytes, with what they need besides
	exceeded  chan struct{} // capacity 1: somebody holds too much
}

// tooMuch is what a peer may hold with what data needs besides, in bytes: see
// frameSorterEntry in quic-go. It also has several connections at times, each with a
// window.
func (b *budget) tooMuch() int64 { return b.peer + b.peer/2 }

func newBudget(memory int64) *budget {
	if memory <= 0 {
		memory = defaultMemory()
	}
	return &budget{all: memory, peer: max(memory/8, minPeerMemory),
		exceeded: make(chan struct{}, 1)}
}

// An account is what one peer has of the budget, in all its connections.
type account struct {
	budget  *budget
	held    atomic.Int64 // bytes that were received and not read
	granted atomic.Int64 // bytes by which the windows of its streams exceed waitingWindow
}

// grant reports whether the window of a stream may become so much larger, of those whose
// windows are no more than share of what the peer may hold.
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

// The shares for streams that are new, and for those that are read. The rest is for
// windows that do not grow.
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

// enforceBudget resets streams when peers hold too much, until the node closes.
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

// relieve takes memory from the peer that holds most, if that or all is too much. It
// returns false if there was nothing to do.
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
		n.log.Warn("out of memory for data that no program reads: connections reset",
			"peer", held[worst][0].peer.id, "connections", resets)
	}
	if enough() || worst.held.Load() == 0 {
		return resets > 0
	}
	for _, c := range held[worst] { // it is in streams that were not even accepted
		n.log.Warn("out of memory for received data: peer disconnected", "peer",
			c.peer.id)
		c.quic.CloseWithError(codeBudget, "")
	}
	return false
}

// largest returns the streams of connections that hold memory, those first that hold
// most.
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

// widen gives a stream the window of one that a program has, if there is room.
func (s *Stream) widen() {
	const delta = answeredWindow - waitingWindow
	if s.conn.account.grant(delta, answeredShare) {
		s.noteGrant(delta)
		setReceiveWindow(s.quic, answeredWindow)
	}
}

// noteGrant notes that the window has grown, until the stream ends.
func (s *Stream) noteGrant(delta int64) {
	s.granted.Add(delta)
	if s.ended.Load()&readEnded != 0 {
		s.giveBack() // end may have come before
	}
}

func (s *Stream) giveBack() { s.conn.account.granted.Add(-s.granted.Swap(0)) }

// count lets the peer open another stream besides this one, which was answered.
func (s *Stream) count() {
	s.conn.limit.change(s.conn.quic, 1)
	s.counted.Store(true)
	if s.ended.Load() == readEnded|writeEnded {
		s.uncount() // end may have come before
	}
}

func (s *Stream) uncount() {
	if s.counted.Swap(false) {
		s.conn.limit.change(s.conn.quic, -1)
	}
}

// A streamLimit is how many streams a peer may have open: those that wait, and those that
// were answered.
type streamLimit struct {
	mu       sync.Mutex
	answered int64
	limit    int64 // as QUIC was told
}

// change notes that there are more streams that were answered, or fewer.
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

// A quicConn is what this package uses of a quic.Conn.
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
