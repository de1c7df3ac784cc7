package transport

import (
	"fmt"
	"io"
	"time"
)

// Connections that the kernel's TCP carries are agreed over streams. The opener reserves
// an optimistic stream, starts its socket's connect to the acceptor's address, and sends
// the header with the port of that socket. The acceptor connects as well. When the
// opener's socket is established, the opener says so by a byte and ends the stream, and
// the acceptor gives its own socket to its program. If the socket is not established in
// time, the opener says that instead, and the stream carries the connection like any
// other one.
const (
	directEstablished = 1
	directGivenUp     = 0
)

// directWithin bounds how long the acceptor waits for what the opener says. It is longer
// than the kernel takes to send a SYN three times, and several round trips.
const directWithin = 10 * time.Second

// Path returns the path in use to a node; ok is false if there is none.
func (n *Node) Path(id uint32) (info PathInfo, ok bool) {
	n.mu.Lock()
	p := n.peers[id]
	n.mu.Unlock()
	if p == nil {
		return PathInfo{}, false
	}
	return p.path()
}

// SettleDirect tells the acceptor of a stream with DirectPort in its header whether the
// opener's socket is established. If it is, the stream has ended with that. Otherwise the
// stream carries the connection. The opener calls it once, before it writes or reads.
func (s *Stream) SettleDirect(established bool) error {
	what := byte(directGivenUp)
	if established {
		what = directEstablished
	}
	_, err := s.write([]byte{what})
	if !established {
		return err
	}
	if err == nil {
		err = s.CloseWrite()
	}
	s.CloseRead()
	return err
}

// AwaitDirect is the acceptor's end of SettleDirect: it waits for what the opener says,
// before Answer. If it returns true or an error, the stream has ended and gets no Answer.
// An opener that says nothing for ten seconds is an error.
func (s *Stream) AwaitDirect() (established bool, err error) {
	s.openBarrier() // the next stream need not wait for the opener's socket
	s.SetReadDeadline(time.Now().Add(directWithin))
	var what [1]byte
	// not Read, which counts the program's bytes
	if _, err := io.ReadFull(s.quic, what[:]); err != nil {
		s.answered.Store(true)
		s.Reset()
		return false, fmt.Errorf("direct connection: %w", streamError(err))
	}
	s.SetReadDeadline(time.Time{})
	if what[0] == directGivenUp {
		return false, nil
	}
	s.answered.Store(true)
	s.Close() // the opener reads nothing more
	return true, nil
}
