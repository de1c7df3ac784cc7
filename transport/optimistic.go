package transport

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
)

// Nodes announce to each other their listeners, and for each one a credit: how many
// streams the peer may open there without waiting for the answer. Such a stream is called
// optimistic. So a connect to an announced listener takes no round trip. The
// announcements of a connection travel on a unidirectional stream in each direction,
// which is opened with the first one:
//
//	kind        1 byte: 128, beside those of datagrams that travel on such streams
//	then, repeated, all numbers big endian:
//	destination as in headers
//	limit       8 bytes: of the streams to the destination, counted from the beginning of
//	            the connection, so many may be optimistic
//
// An optimistic stream has the option 3, without a value, in its header. Its acceptor
// sends StatusOK together with the first bytes or with FIN, since the opener does not
// wait for it. It sends any other status at once.
const announcements = 128

// maxAnnounced bounds how many destinations a connection remembers in each direction.
const maxAnnounced = 4096

// credits has the announcements of a connection.
type credits struct {
	mu sync.Mutex
	// theirs is what the peer has announced, ours what it has been told.
	theirs, ours map[netip.AddrPort]*credit
	unsent       map[netip.AddrPort]struct{} // of ours
	poke         chan struct{}               // capacity 1: there is more to send
}

// A credit says how many streams to a destination a connection may have had for one more
// to be optimistic, and how many it has had.
type credit struct {
	limit, used uint64
	granted     uint64 // limit - used when limit was last set
	announced   bool   // limit has been set
}

func (e *credits) init() { e.poke = make(chan struct{}, 1) }

// opening counts a stream that this side opens. The stream is to be optimistic if
// mayBeOptimistic is set and there is credit. Both sides count all streams to a
// destination: those that are not optimistic take room in the backlog as well.
func (e *credits) opening(dst netip.AddrPort, mayBeOptimistic bool) (optimistic bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := entry(&e.theirs, dst)
	optimistic = a != nil && mayBeOptimistic && a.used < a.limit
	if a != nil && optimistic == mayBeOptimistic {
		a.used++
	}
	return optimistic
}

// notOpened takes back what opening has counted.
func (e *credits) notOpened(dst netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.theirs[dst]; a != nil {
		a.used--
	}
}

// withdraw notes that the peer has refused an optimistic stream: there is no credit.
func (e *credits) withdraw(dst netip.AddrPort) { e.learn(dst, 0) }

// learn notes an announcement of the peer.
func (e *credits) learn(dst netip.AddrPort, limit uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := entry(&e.theirs, dst); a != nil {
		a.limit = limit
	}
}

// arrived counts a stream that the peer has opened. low is true if the destination was
// announced and the peer has used half of its credit or more.
func (e *credits) arrived(dst netip.AddrPort) (low bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := entry(&e.ours, dst)
	if a == nil {
		return false
	}
	a.used++
	return a.announced && (a.limit < a.used || a.limit-a.used <= a.granted/2)
}

// entry returns the credit of a destination, which may be new; nil if the table is full.
func entry(m *map[netip.AddrPort]*credit, dst netip.AddrPort) *credit {
	a := (*m)[dst]
	if a == nil && len(*m) < maxAnnounced {
		if *m == nil {
			*m = make(map[netip.AddrPort]*credit)
		}
		a = &credit{}
		(*m)[dst] = a
	}
	return a
}

// grant gives the peer credit for so many more streams to dst.
func (e *credits) grant(dst netip.AddrPort, more int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := entry(&e.ours, dst)
	if a == nil || !a.announced && more == 0 {
		return
	}
	a.announced = true
	old := a.limit
	a.granted = uint64(more)
	if a.limit = a.used + a.granted; more == 0 {
		a.limit = 0
	}
	if a.limit == old {
		return
	}
	if e.unsent == nil {
		e.unsent = make(map[netip.AddrPort]struct{})
	}
	e.unsent[dst] = struct{}{}
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// appendUnsent appends the wire form of the announcements that were not sent yet.
func (e *credits) appendUnsent(b []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	for dst := range e.unsent {
		b = binary.BigEndian.AppendUint64(appendAddrPort(b, dst), e.ours[dst].limit)
	}
	clear(e.unsent)
	return b
}

// Announce gives each peer, also peers to come, credit for so many optimistic streams to
// dst; 0 takes all credit back.
func (n *Node) Announce(dst netip.AddrPort, credit int) {
	n.mu.Lock()
	if n.announced == nil {
		n.announced = make(map[netip.AddrPort]int)
	}
	if credit == 0 {
		delete(n.announced, dst)
	} else {
		n.announced[dst] = credit
	}
	n.mu.Unlock()
	for _, p := range n.peersSnapshot() {
		p.mu.Lock()
		conns := p.conns
		p.mu.Unlock()
		for _, c := range conns {
			c.tell(dst, credit)
		}
	}
}

// tell gives the peer credit, if it may connect to dst at all.
func (c *conn) tell(dst netip.AddrPort, credit int) {
	if may := c.peer.node.config.MayOpen; may == nil || credit == 0 || may(c.peer.id, dst) {
		c.credits.grant(dst, credit)
	}
}

// announce sends announcements until the connection ends.
func (c *conn) announce(ctx context.Context) {
	n := c.peer.node
	n.mu.Lock()
	// The lock is held meanwhile: Announce may be about to change the credit.
	for dst, credit := range n.announced {
		c.tell(dst, credit)
	}
	n.mu.Unlock()
	var to *quic.SendStream
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.credits.poke:
		}
		var b []byte
		if to == nil {
			var err error
			if to, err = c.quic.OpenUniStreamSync(ctx); err != nil {
				return
			}
			b = append(b, announcements)
		}
		if _, err := to.Write(c.credits.appendUnsent(b)); err != nil {
			n.log.Debug("announce", "peer", c.peer.id, "err", err)
			return
		}
	}
}

// learn reads the peer's announcements until they end.
func (c *conn) learn(from io.Reader) error {
	var buf [3 + 16 + 8]byte
	for {
		if _, err := io.ReadFull(from, buf[:1]); err != nil {
			return err
		}
		size := 3 + 4 + 8
		if buf[0] == 6 {
			size = len(buf)
		}
		if _, err := io.ReadFull(from, buf[1:size]); err != nil {
			return err
		}
		dst, limit, err := cutAddrPort(buf[:size])
		if err != nil {
			return fmt.Errorf("announcement: %w", err)
		}
		c.credits.learn(dst, binary.BigEndian.Uint64(limit))
	}
}

// OpenOptimistic opens a stream to a node without waiting for anything, if the node has
// announced the header's destination, there is credit left, and there is a connection; ok
// is false otherwise. The header is sent with the first bytes, or by Flush. If the far
// side refuses the stream, Read returns ErrReset.
func (n *Node) OpenOptimistic(id uint32, h Header) (s *Stream, ok bool) {
	if s, ok = n.ReserveOptimistic(id, h.Destination); !ok {
		return nil, false
	}
	if s.Begin(h) != nil {
		s.Cancel()
		return nil, false
	}
	return s, true
}

// ReserveOptimistic is OpenOptimistic for a stream whose header is not known yet. The
// caller calls Begin, or else Cancel, on the stream.
func (n *Node) ReserveOptimistic(id uint32, dst netip.AddrPort) (s *Stream, ok bool) {
	n.mu.Lock()
	p := n.peers[id]
	n.mu.Unlock()
	if p == nil {
		return nil, false
	}
	p.mu.Lock()
	c := p.current
	p.mu.Unlock()
	if c == nil || c.quic.Context().Err() != nil || !c.credits.opening(dst, true) {
		return nil, false
	}
	q, err := c.quic.OpenStream()
	if err != nil { // the peer allows no more open streams
		c.credits.notOpened(dst)
		return nil, false
	}
	s = c.newStream(q)
	s.header.Destination = dst
	s.answered.Store(true) // not for this side to do
	s.flushable, s.unconfirmed = true, true
	return s, true
}

// Begin gives a reserved stream its header. It has the destination for which the stream
// was reserved.
func (s *Stream) Begin(h Header) error {
	h.Optimistic = true
	header, err := AppendHeader(nil, h)
	if err != nil {
		return err
	}
	s.header, s.before = h, header
	s.ip.opened(h.IP, s.conn.ipFields)
	return nil
}

// Cancel ends a reserved stream instead of Begin.
func (s *Stream) Cancel() {
	s.conn.credits.notOpened(s.header.Destination)
	s.cancel(codeCanceled)
}

// LowCredit reports, of an accepted stream, whether the peer has little credit left for
// optimistic streams to its destination: then GrantCredit should give more.
func (s *Stream) LowCredit() bool { return s.low }

// GrantCredit gives the peer credit for so many more optimistic streams to the stream's
// destination.
func (s *Stream) GrantCredit(more int) { s.conn.credits.grant(s.header.Destination, more) }
