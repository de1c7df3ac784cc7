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

// Nodes announce to each other where streams may be opened early, that is without
// waiting for the far side's answer, and how many. So a connect to a listener that the
// far side has announced takes no round trip. The announcements of a connection go over a
// unidirectional stream in each direction, opened when there is something to say:
//
//	kind        1 byte: 128, beside those of datagrams that travel on such streams
//	and, again and again, all numbers big endian:
//	destination as in headers
//	limit       8 bytes: a stream to the destination may be early if it is among so many
//	            from the beginning of the connection
//
// An early stream has the option 3, without a value, in its header. Its acceptor
// sends its status together with the first bytes or with FIN, since nobody waits
// for it; any status but StatusOK goes out at once.
const announcements = 128

// maxAnnounced bounds how many destinations are remembered in each direction.
const maxAnnounced = 4096

// early is a connection's share of the announcements.
type early struct {
	mu sync.Mutex
	// theirs is what the peer has announced, ours what it has been told.
	theirs, ours map[netip.AddrPort]*credit
	unsent       map[netip.AddrPort]struct{} // of ours
	poke         chan struct{}               // capacity 1: unsent has grown
}

// An credit is how many streams to a destination a connection may have had, and has,
// for one more to be early.
type credit struct {
	limit, used uint64
	granted     uint64 // limit - used when limit was last set
	announced   bool   // limit has been set
}

func (e *early) init() { e.poke = make(chan struct{}, 1) }

// opening counts a stream that this side opens, early if the peer allows that and
// mayBeEarly; both sides count all streams to a destination, since those that are not
// early take room as well.
func (e *early) opening(dst netip.AddrPort, mayBeEarly bool) (early bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := entry(&e.theirs, dst)
	early = a != nil && mayBeEarly && a.used < a.limit
	if a != nil && early == mayBeEarly {
		a.used++
	}
	return early
}

// notOpened undoes opening.
func (e *early) notOpened(dst netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.theirs[dst]; a != nil {
		a.used--
	}
}

// withdraw notes that the peer has refused an early stream.
func (e *early) withdraw(dst netip.AddrPort) { e.learn(dst, 0) }

// learn takes in an announcement.
func (e *early) learn(dst netip.AddrPort, limit uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := entry(&e.theirs, dst); a != nil {
		a.limit = limit
	}
}

// arrived counts a stream that the peer has opened. It returns true if the destination
// was announced and the peer has used half of what it was granted, or more, and may be
// granted anew.
func (e *early) arrived(dst netip.AddrPort) (low bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := entry(&e.ours, dst)
	if a == nil {
		return false
	}
	a.used++
	return a.announced && (a.limit < a.used || a.limit-a.used <= a.granted/2)
}

// entry returns what is known of a destination, nil if that is too much.
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

// grant allows so many more early streams to dst, from now on.
func (e *early) grant(dst netip.AddrPort, more int) {
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

// appendUnsent appends the wire form of what the peer has not been told yet.
func (e *early) appendUnsent(b []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	for dst := range e.unsent {
		b = binary.BigEndian.AppendUint64(appendAddrPort(b, dst), e.ours[dst].limit)
	}
	clear(e.unsent)
	return b
}

// Announce tells all peers, those of the future included, that so many of each one's
// streams to dst may be opened early; 0 takes it back.
func (n *Node) Announce(dst netip.AddrPort, room int) {
	n.mu.Lock()
	if n.announced == nil {
		n.announced = make(map[netip.AddrPort]int)
	}
	if room == 0 {
		delete(n.announced, dst)
	} else {
		n.announced[dst] = room
	}
	n.mu.Unlock()
	for _, p := range n.peersSnapshot() {
		p.mu.Lock()
		conns := p.conns
		p.mu.Unlock()
		for _, c := range conns {
			c.early.grant(dst, room)
		}
	}
}

// announce sends announcements until the connection ends.
func (c *conn) announce(ctx context.Context) {
	n := c.peer.node
	n.mu.Lock()
	// with the lock: Announce may be about to change it
	for dst, room := range n.announced {
		c.early.grant(dst, room)
	}
	n.mu.Unlock()
	var to *quic.SendStream
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.early.poke:
		}
		var b []byte
		if to == nil {
			var err error
			if to, err = c.quic.OpenUniStreamSync(ctx); err != nil {
				return
			}
			b = append(b, announcements)
		}
		if _, err := to.Write(c.early.appendUnsent(b)); err != nil {
			n.log.Debug("announce", "peer", c.peer.id, "err", err)
			return
		}
	}
}

// learn takes in the peer's announcements until they end.
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
		c.early.learn(dst, binary.BigEndian.Uint64(limit))
	}
}

// OpenOptimistic opens a stream to a node without waiting for anything, if it has announced
// the header's destination and there is a connection to it; ok is false otherwise. The
// header goes out with the first bytes, or by Flush. The far side's answer, if it is not
// StatusOK, comes as ErrReset of a Read.
func (n *Node) OpenOptimistic(id uint32, h Header) (s *Stream, ok bool) {
	n.mu.Lock()
	p := n.peers[id]
	n.mu.Unlock()
	if p == nil {
		return nil, false
	}
	p.mu.Lock()
	c := p.current
	p.mu.Unlock()
	if c == nil || c.quic.Context().Err() != nil ||
		!c.early.opening(h.Destination, true) {
		return nil, false
	}
	h.Early = true
	header, err := AppendHeader(nil, h)
	if err != nil {
		return nil, false
	}
	q, err := c.quic.OpenStream()
	if err != nil { // as many as the peer allows are open
		c.early.notOpened(h.Destination)
		return nil, false
	}
	s = c.newStream(q)
	s.header = h
	s.answered.Store(true) // not for this side to do
	s.before, s.flushable = header, true
	s.unconfirmed = true
	return s, true
}

// LowCredit reports, of an accepted stream, whether the peer has little credit left for
// optimistic streams to its destination: then GrantCredit should give more.
func (s *Stream) LowCredit() bool { return s.low }

// GrantCredit allows the peer so many more optimistic streams to the stream's destination.
func (s *Stream) GrantCredit(more int) { s.conn.early.grant(s.header.Destination, more) }
