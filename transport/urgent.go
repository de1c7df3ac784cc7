package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// TCP has urgent data (RFC 9293 section 3.8.5), which programs send with MSG_OOB; QUIC
// streams have none. So this side announces an urgent byte in advance, on a stream of its
// own whose header says which byte of which stream it will be. It writes the byte when
// the peer has answered. So whoever reads the byte knows that it is urgent. That costs a
// round trip for each urgent byte, and nothing for other bytes.

// UrgentByte says where in a stream an urgent byte is.
type UrgentByte struct {
	Stream uint64 // QUIC's number of the stream
	Offset uint64 // how many bytes its sender writes before it
	Valid  bool   // false: none
}

// sizeofUrgent is the size of an UrgentByte in a header, in bytes.
const sizeofUrgent = 16

func (u UrgentByte) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, u.Stream),
		u.Offset)
}

func parseUrgent(b []byte) (UrgentByte, error) {
	if len(b) != sizeofUrgent {
		return UrgentByte{}, errHeaderUrgent
	}
	return UrgentByte{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), true}, nil
}

// urgentWithin bounds how long a byte waits until the peer knows that it is urgent. After
// that time the byte is sent like any other.
const urgentWithin = 5 * time.Second

// maxMarks bounds how many unread urgent bytes of a stream are remembered. TCP remembers
// one, the last.
const maxMarks = 64

// marks are the places of urgent bytes that were not read yet.
type marks struct {
	some atomic.Bool // there may be one: each Read looks at it
	mu   sync.Mutex
	at   []uint64 // ascending
}

// add notes a mark, unless one at the same place or a later one is known.
func (m *marks) add(offset uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.at) > 0 && m.at[len(m.at)-1] >= offset {
		return
	}
	if len(m.at) == maxMarks {
		m.at = m.at[1:]
	}
	m.at = append(m.at, offset)
	m.some.Store(true)
}

// take removes the first mark between start and end, and those before it, and returns it.
func (m *marks) take(start, end uint64) (offset uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.at) > 0 && m.at[0] < end && !ok {
		offset, ok = m.at[0], m.at[0] >= start
		m.at = m.at[1:]
	}
	m.some.Store(len(m.at) > 0)
	return offset, ok
}

// MarkUrgent makes the next byte that is written urgent. It waits until the peer knows
// that. After an error the byte is like any other. It must not be called at the same time
// as Write.
func (s *Stream) MarkUrgent() error {
	if err := s.writeBefore(); err != nil { // the peer has to know the stream
		return err
	}
	ctx, cancel := context.WithTimeout(s.quic.Context(), urgentWithin)
	defer cancel()
	h := s.header
	m, err := s.conn.open(ctx, Header{
		// Nobody listens on port 0: a peer that does not know urgent bytes refuses.
		Source: withoutPort(h.Source), Destination: withoutPort(h.Destination),
		Urgent: UrgentByte{uint64(s.quic.StreamID()), s.written, true},
	})
	if err != nil {
		return err
	}
	m.cancel(codeNoRead) // the stream has nothing but the answer
	return nil
}

// UrgentIn returns the index of the first urgent byte among the last n bytes that were
// read, and forgets the mark; -1 if there is none. It must not be called at the same time
// as Read.
func (s *Stream) UrgentIn(n int) int {
	if !s.urgent.some.Load() {
		return -1
	}
	start := s.read - uint64(n)
	offset, ok := s.urgent.take(start, s.read)
	if !ok {
		return -1
	}
	return int(offset - start)
}

// learnUrgent notes the urgent byte that a stream's header announces, and answers.
func (s *Stream) learnUrgent() {
	s.learnOf(s.header.Urgent.Stream, func(about *Stream) {
		about.urgent.add(s.header.Urgent.Offset)
	})
}

// learnOf calls learn with the stream of a number, if it is known, and answers this one,
// whose header is about that stream.
func (s *Stream) learnOf(id uint64, learn func(about *Stream)) {
	c, status := s.conn, StatusRefused
	c.mu.Lock()
	// The peer has opened it before this one, so it is known unless it has ended.
	about := c.streams[int64(id)]
	c.mu.Unlock()
	if about != nil {
		learn(about)
		status = StatusOK
	}
	s.answered.Store(true)
	_, err := s.write([]byte{byte(status)})
	if err = errors.Join(err, s.Close()); err != nil {
		c.peer.node.log.Debug("about a stream", "peer", s.Peer(), "err", err)
	}
}
