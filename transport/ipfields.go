package transport

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"github.com/boxer-sandbox/boxer/stream"
)

// Programs may choose the TTL and the TOS of a TCP connection's packets, and refuse
// packets of a low TTL (IP_MINTTL, ip(7); RFC 5082). The opener's choice is in the header
// of the stream, the acceptor's follows its answer. What either side chooses later
// travels on a stream of its own, whose header says of which stream it is.

// statusIPFields is StatusOK on the wire where the acceptor's IPFields follow.
const statusIPFields = 6

// An IPUpdate says which IPFields the packets of a stream's sender have from now on.
type IPUpdate struct {
	Stream uint64 // QUIC's number of the stream
	stream.IPFields
	Valid bool // false: none
}

// sizeofIPUpdate is the size of an IPUpdate in a header, in bytes.
const sizeofIPUpdate = 8 + sizeofIPFields

func (u IPUpdate) append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, u.Stream), u.TTL, u.TOS)
}

func parseIPUpdate(b []byte) (IPUpdate, error) {
	if len(b) != sizeofIPUpdate {
		return IPUpdate{}, errHeaderIP
	}
	return IPUpdate{Stream: binary.BigEndian.Uint64(b),
		IPFields: stream.IPFields{TTL: b[8], TOS: b[9]}, Valid: true}, nil
}

// ipFields are the IPFields of both directions of a stream.
type ipFields struct {
	updating sync.Mutex // held around update; taken before mu

	mu      sync.Mutex
	own     stream.IPFields // of this side
	sending bool            // sendIPFields runs

	peer    stream.IPFields
	updated bool // peer is newer than what the header, or the answer, has
	changed func(stream.IPFields)
}

// opened notes the fields of the opener's packets. A peer of the first version does not
// tell those of its own, known is false then: the highest TTL stands for them, with which
// no program refuses its packets.
func (i *ipFields) opened(own stream.IPFields, known bool) {
	if i.own = own; !known {
		i.peer.TTL = 255
	}
}

// first notes what the header, or the answer, has. An update may have come before it.
func (i *ipFields) first(f stream.IPFields) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.updated {
		i.peer = f
	}
}

// update notes what the peer's packets have from now on. It calls changed without mu:
// the caller's locks are taken there, and are held around SetIPFields.
func (i *ipFields) update(f stream.IPFields) {
	i.updating.Lock()
	defer i.updating.Unlock()
	i.mu.Lock()
	i.peer, i.updated = f, true
	changed := i.changed
	i.mu.Unlock()
	if changed != nil {
		changed(f)
	}
}

// OnIPFields returns the IPFields of the peer's packets, those of a peer of the first
// version with a TTL of 255, and has changed called with those that come later, one call
// at a time.
func (s *Stream) OnIPFields(changed func(stream.IPFields)) stream.IPFields {
	s.ip.mu.Lock()
	defer s.ip.mu.Unlock()
	s.ip.changed = changed
	return s.ip.peer
}

// SetIPFields tells the peer which IPFields this side's packets have from now on. Before
// Answer they go with the answer. A peer that speaks the first version of the protocol
// is not told.
func (s *Stream) SetIPFields(f stream.IPFields) {
	s.ip.mu.Lock()
	defer s.ip.mu.Unlock()
	if s.ip.own == f {
		return
	}
	s.ip.own = f
	if !s.answered.Load() || !s.conn.ipFields || s.ip.sending {
		return
	}
	s.ip.sending = s.conn.peer.node.start(s.sendIPFields)
}

// sendIPFields tells the peer of this side's IPFields until it knows the last ones.
func (s *Stream) sendIPFields() {
	ctx, cancel := context.WithTimeout(s.quic.Context(), urgentWithin)
	defer cancel()
	err := s.writeBefore() // the peer has to know the stream
	for err == nil {
		s.ip.mu.Lock()
		f := s.ip.own
		s.ip.mu.Unlock()
		var m *Stream
		m, err = s.conn.open(ctx, Header{
			// Nobody listens on port 0.
			Source:      withoutPort(s.header.Source),
			Destination: withoutPort(s.header.Destination),
			Update: IPUpdate{Stream: uint64(s.quic.StreamID()), IPFields: f,
				Valid: true},
		})
		if err == nil {
			m.cancel(codeNoRead) // the stream has nothing but the answer
		}
		s.ip.mu.Lock()
		if s.ip.own == f || err != nil {
			s.ip.sending = false
			s.ip.mu.Unlock()
			break
		}
		s.ip.mu.Unlock()
	}
	if err != nil {
		s.conn.peer.node.log.Debug("fields of IP headers", "peer", s.Peer(), "err", err)
	}
}

// learnUpdate notes the IPFields that a stream's header announces, and answers.
func (s *Stream) learnUpdate() {
	s.learnOf(s.header.Update.Stream, func(about *Stream) {
		about.ip.update(s.header.Update.IPFields)
	})
}

// appendOK appends the answer that a stream is accepted.
func (s *Stream) appendOK(b []byte) []byte {
	s.ip.mu.Lock()
	defer s.ip.mu.Unlock()
	if s.ip.own == (stream.IPFields{}) || !s.conn.ipFields {
		return append(b, byte(StatusOK))
	}
	return append(b, statusIPFields, s.ip.own.TTL, s.ip.own.TOS)
}

// readIPFields reads what follows statusIPFields.
func (s *Stream) readIPFields() error {
	var b [sizeofIPFields]byte
	if _, err := io.ReadFull(s.quic, b[:]); err != nil {
		return err
	}
	s.ip.first(stream.IPFields{TTL: b[0], TOS: b[1]})
	return nil
}
