package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// Stream carries the bytes of one TCP connection, in both directions. One
// goroutine may read while another writes. Read and Write go straight to QUIC:
// no buffer lies between.
//
// Every stream has to be ended in both directions: reading by Read's io.EOF or
// another error, CloseRead or Reset, writing by CloseWrite or Reset.
type Stream struct {
	quic   *quic.Stream
	conn   *conn
	header Header

	answered atomic.Bool
	ended    atomic.Uint32 // readEnded, writeEnded
}

const (
	readEnded  = 1
	writeEnded = 2
)

// newStream counts a stream of the connection.
func (c *conn) newStream(q *quic.Stream) *Stream {
	c.mu.Lock()
	c.streams++
	c.mu.Unlock()
	return &Stream{quic: q, conn: c}
}

// end notes the end of a direction.
func (s *Stream) end(directions uint32) {
	old := s.ended.Or(directions)
	if old|directions == old || old|directions != readEnded|writeEnded {
		return
	}
	s.conn.mu.Lock()
	s.conn.streams--
	s.conn.idle = time.Now()
	s.conn.mu.Unlock()
}

// accept reads the header of a stream that the peer has opened and hands it on.
func (s *Stream) accept() {
	node := s.conn.peer.node
	s.quic.SetReadDeadline(time.Now().Add(node.timers.Header))
	h, err := readHeader(s.quic)
	if err != nil {
		node.log.Debug("stream refused", "peer", s.Peer(), "error", err)
		s.cancel(codeProtocol)
		return
	}
	s.quic.SetReadDeadline(time.Time{})
	s.header = h
	node.config.Accept(s)
	if !s.answered.Load() { // Accept's duty, but the peer must not wait for ever
		s.Reset()
	}
}

// Header returns the header that the stream was opened with.
func (s *Stream) Header() Header { return s.header }

// Peer returns the id of the node at the other end.
func (s *Stream) Peer() uint32 { return s.conn.peer.id }

// ID returns QUIC's number of the stream, for traces.
func (s *Stream) ID() int64 { return int64(s.quic.StreamID()) }

// Kind returns the kind of path that packets take to the peer now.
func (s *Stream) Kind() Kind {
	info, _ := s.conn.peer.path()
	return info.Kind
}

// Answer tells the opener how its wish was met; it is called once on an
// accepted stream. With anything but StatusOK the stream is over.
func (s *Stream) Answer(status Status) error {
	if s.answered.Swap(true) {
		return errors.New("stream was answered before")
	}
	_, err := s.Write([]byte{byte(status)})
	if status != StatusOK {
		err = errors.Join(err, s.CloseWrite(), s.CloseRead())
	}
	return err
}

// Read reads like io.Reader. After the peer's FIN it returns io.EOF, after the
// peer's Reset ErrReset, after this side's Reset or CloseRead net.ErrClosed, and
// an error that matches ErrLost after the end of the whole connection.
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.quic.Read(b)
	if err == nil || err == io.EOF {
		if err != nil {
			s.end(readEnded)
		}
		return n, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	s.end(readEnded)
	return n, streamError(err)
}

// Wait waits until there is something to read: bytes, or the end. So a reader
// needs no buffer while it waits. Its errors are those of Read; io.EOF is left to
// Read.
func (s *Stream) Wait() error {
	var b [1]byte
	if _, err := s.quic.Peek(b[:]); err != nil && err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.end(readEnded)
		return streamError(err)
	}
	return nil
}

// Write writes like io.Writer. It returns when all but the last packet has been
// sent. Its errors are those of Read; ErrReset too if the peer reads no more.
func (s *Stream) Write(b []byte) (int, error) {
	n, err := s.quic.Write(b)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	s.end(writeEnded)
	return n, streamError(err)
}

// WhenStopped calls f, on a goroutine of its own, when the peer reads no more while
// this side can still write: Write would fail with ErrReset, or with an
// error that matches ErrLost. It does not wait for a Write to find out. The returned function
// makes that it is not called any more; it reports whether that came in time.
func (s *Stream) WhenStopped(f func()) (stop func() bool) {
	ctx := s.quic.Context() // ends with the direction, whichever side ends it
	return context.AfterFunc(ctx, func() {
		switch streamError(context.Cause(ctx)) {
		case net.ErrClosed: // by CloseWrite or Reset
		default:
			f()
		}
	})
}

// CloseWrite ends this side's bytes, as shutdown(SHUT_WR) does with FIN: the
// peer reads all that was written, then io.EOF. It must not be called at the
// same time as Write.
func (s *Stream) CloseWrite() error {
	s.end(writeEnded)
	return streamError(s.quic.Close())
}

// CloseRead says that what the peer sends is not read any more; its writes will
// fail with ErrReset.
func (s *Stream) CloseRead() error {
	s.quic.CancelRead(codeNoRead)
	s.end(readEnded)
	return nil
}

// Reset ends both directions, as RST does: the peer's reads fail with ErrReset
// behind what was written, and so do its writes. It does nothing for directions
// that have ended.
func (s *Stream) Reset() {
	s.quic.SetReliableBoundary()
	s.cancel(codeReset)
}

// Close is CloseWrite and CloseRead.
func (s *Stream) Close() error { return errors.Join(s.CloseWrite(), s.CloseRead()) }

func (s *Stream) cancel(code quic.StreamErrorCode) {
	s.quic.CancelRead(code)
	s.quic.CancelWrite(code)
	s.end(readEnded | writeEnded)
}

// SetReadDeadline ends a Read at a time with os.ErrDeadlineExceeded; the zero
// time means never.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.quic.SetReadDeadline(t) }

// SetWriteDeadline is SetReadDeadline for Write.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.quic.SetWriteDeadline(t) }
