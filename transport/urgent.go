package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// QUIC's streams have no urgent data (RFC 9293 section 3.8.5), which programs send with
// MSG_OOB. Of an urgent byte a stream of its own tells in advance: its header says which
// byte of which stream it will be. The byte is written when that has been answered, so
// whoever reads it knows what it is. It costs a round trip and nothing where there is
// none.

// UrgentByte is the place of an urgent byte.
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

// urgentWithin bounds how long a byte waits until the peer knows that it is urgent.
// Beyond that it is sent as any other.
const urgentWithin = 5 * time.Second

// maxMarks bounds how many urgent bytes of a stream are remembered that nobody has read
// yet. TCP remembers one, the last.
const maxMarks = 64

// marks are the places of urgent bytes that are to be read.
type marks struct {
	some atomic.Bool // there may be some: looked at for each Read
	mu   sync.Mutex
	at   []uint64 // ascending
}

// add notes one. What comes twice, or is behind a later one, is not noted.
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

// take removes the marks before end. It returns the first that is not below start.
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

// MarkUrgent makes the next byte that is written an urgent one; it waits until the peer
// knows. Its error means that the byte will be as any other. It must not be called at the
// same time as Write.
func (s *Stream) MarkUrgent() error {
	if err := s.writeBefore(); err != nil { // the peer shall know the stream
		return err
	}
	ctx, cancel := context.WithTimeout(s.quic.Context(), urgentWithin)
	defer cancel()
	h := s.header
	m, err := s.conn.open(ctx, Header{
		// Port 0 is nobody's: who does not know of urgent bytes refuses.
		Source: withoutPort(h.Source), Destination: withoutPort(h.Destination),
		Urgent: UrgentByte{uint64(s.quic.StreamID()), s.written, true},
	})
	if err != nil {
		return err
	}
	m.cancel(codeNoRead) // the answer was all
	return nil
}

// UrgentIn returns the index of the first urgent byte among the last n bytes that were
// read, which it forgets, or -1. It must not be called at the same time as Read.
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

// learnUrgent answers a stream that tells of an urgent byte.
func (s *Stream) learnUrgent() {
	c, status := s.conn, StatusRefused
	c.mu.Lock()
	// opened before this one, so it is known, or was
	about := c.streams[int64(s.header.Urgent.Stream)]
	c.mu.Unlock()
	if about != nil {
		about.urgent.add(s.header.Urgent.Offset)
		status = StatusOK
	}
	s.answered.Store(true)
	_, err := s.write([]byte{byte(status)})
	if err = errors.Join(err, s.Close()); err != nil {
		c.peer.node.log.Debug("urgent byte", "peer", s.Peer(), "err", err)
	}
}
