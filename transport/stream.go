package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
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

	low      bool          // see LowCredit
	barrier  chan struct{} // closed by openBarrier
	answered atomic.Bool
	counted  atomic.Bool  // in conn.limit
	granted  atomic.Int64 // of conn.account

	written, read uint64 // bytes; only the writer's, and the reader's
	urgent        marks  // among the bytes that are to be read

	// Of an early stream: what goes out before what is written, the opener's header or
	// the acceptor's status.
	beforeMu sync.Mutex
	before   []byte
	// before is, or was, a header: the far side cannot begin without it
	flushable bool
	// the opener has not seen the status; only the reader uses it
	unconfirmed bool
	ended       atomic.Uint32 // readEnded, writeEnded
}

const (
	readEnded  = 1
	writeEnded = 2
)

// newStream makes one of the connection's streams.
func (c *conn) newStream(q *quic.Stream) *Stream {
	s := &Stream{quic: q, conn: c}
	c.mu.Lock()
	c.streams[s.ID()] = s
	c.mu.Unlock()
	return s
}

// end notes the end of a direction.
func (s *Stream) end(directions uint32) {
	old := s.ended.Or(directions)
	if directions&readEnded != 0 {
		s.giveBack()
	}
	if old|directions == old || old|directions != readEnded|writeEnded {
		return
	}
	s.conn.mu.Lock()
	delete(s.conn.streams, s.ID())
	s.conn.idle = time.Now()
	s.conn.mu.Unlock()
	s.uncount()
}

// accept reads the header of a stream that the peer has opened and hands it on. before is
// closed when the stream that was opened before this one needs to be waited for no more.
func (s *Stream) accept(before <-chan struct{}) {
	defer s.openBarrier()
	node := s.conn.peer.node
	s.quic.SetReadDeadline(time.Now().Add(node.timers.Header))
	h, err := readHeader(s.quic)
	if err != nil {
		node.log.Debug("stream refused", "peer", s.Peer(), "err", err)
		s.cancel(codeProtocol)
		return
	}
	s.quic.SetReadDeadline(time.Time{})
	s.header = h
	if h.Urgent.Valid {
		s.learnUrgent()
		s.awaitBarrier(before)
		return
	}
	s.awaitBarrier(before)
	if !h.Early {
		s.openBarrier() // its opener waits for the answer before it opens the next
	}
	if !h.Near.IsValid() {
		s.low = s.conn.early.arrived(h.Destination)
	}
	node.config.Accept(s)
	if !s.answered.Load() { // Accept's duty, but the peer must not wait for ever
		s.Reset()
	}
}

// barrierWithin bounds how long a stream waits for an early one before it, whose
// listener may have a full backlog.
const barrierWithin = 50 * time.Millisecond

// awaitBarrier keeps streams behind the early ones that were opened before them: a program
// that connects twice, one after the other, is accepted in that order.
func (s *Stream) awaitBarrier(before <-chan struct{}) {
	select {
	case <-before:
		return
	default:
	}
	t := time.NewTimer(barrierWithin)
	defer t.Stop()
	select {
	case <-before:
	case <-t.C:
	}
}

// openBarrier lets the next stream have its turn. Only the accepting goroutine calls it.
func (s *Stream) openBarrier() {
	if s.barrier != nil {
		close(s.barrier)
		s.barrier = nil
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

// Answer tells the opener how its wish was met; it is called once on an accepted stream,
// by the goroutine that Accept was called on. With anything but StatusOK the stream is
// over.
func (s *Stream) Answer(status Status) error {
	if s.answered.Swap(true) {
		return errors.New("stream was answered before")
	}
	s.openBarrier()
	if status == StatusOK {
		s.count()
		s.widen()
	}
	if status == StatusOK && s.header.Early {
		s.beforeMu.Lock()
		s.before = []byte{byte(status)}
		s.beforeMu.Unlock()
		return nil
	}
	_, err := s.write([]byte{byte(status)})
	if status != StatusOK {
		err = errors.Join(err, s.CloseWrite(), s.CloseRead())
	}
	return err
}

// Read reads like io.Reader. After the peer's FIN it returns io.EOF, after the
// peer's Reset ErrReset, after this side's Reset or CloseRead net.ErrClosed, and
// an error that matches ErrLost after the end of the whole connection.
func (s *Stream) Read(b []byte) (int, error) {
	if err := s.confirm(); err != nil {
		return 0, err
	}
	n, err := s.quic.Read(b)
	s.read += uint64(n)
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

// confirm reads the answer to a stream that was opened early. What a program was told
// is a connection ends with a reset if the far side refuses it, as a connection to a
// server does that ends at once.
func (s *Stream) confirm() error {
	if !s.unconfirmed {
		return nil
	}
	var status [1]byte
	if _, err := io.ReadFull(s.quic, status[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		s.end(readEnded)
		if err == io.EOF {
			return ErrReset // ended before its answer
		}
		return streamError(err)
	}
	s.unconfirmed = false
	if Status(status[0]) != StatusOK {
		s.conn.early.withdraw(s.header.Destination)
		s.CloseRead()
		return fmt.Errorf("%w: %w", ErrReset, &StatusError{Status(status[0])})
	}
	return nil
}

// Flush sends the header of a stream that was opened early, if nothing was written
// yet.
func (s *Stream) Flush() error {
	if !s.flushable {
		return nil // a status, which nobody waits for
	}
	return s.writeBefore()
}

// writeBefore writes what goes before the first bytes.
func (s *Stream) writeBefore() error {
	s.beforeMu.Lock()
	defer s.beforeMu.Unlock()
	if s.before == nil {
		return nil
	}
	b := s.before
	s.before = nil
	if _, err := s.quic.Write(b); err != nil {
		s.end(writeEnded)
		return streamError(err)
	}
	if s.flushable { // now the peer knows of it
		s.widen()
	}
	return nil
}

// Wait waits until there is something to read: bytes, or the end. So a reader
// needs no buffer while it waits. Its errors are those of Read; io.EOF is left to
// Read.
func (s *Stream) Wait() error {
	if err := s.confirm(); err != nil {
		return err
	}
	var b [1]byte
	if _, err := s.quic.Peek(b[:]); err != nil && err != io.EOF &&
		!errors.Is(err, os.ErrDeadlineExceeded) {
		s.end(readEnded)
		return streamError(err)
	}
	return nil
}

// Write writes like io.Writer. It returns when all but the last packet has been
// sent. Its errors are those of Read; ErrReset too if the peer reads no more.
func (s *Stream) Write(b []byte) (int, error) {
	n, err := s.write(b)
	s.written += uint64(n)
	return n, err
}

// write is Write of what is no program's.
func (s *Stream) write(b []byte) (int, error) {
	if err := s.writeBefore(); err != nil {
		return 0, err
	}
	n, err := s.quic.Write(b)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	s.end(writeEnded)
	return n, streamError(err)
}

// OnStopSending calls f, on a goroutine of its own, when the peer has ended this side's
// direction by CloseRead (STOP_SENDING, RFC 9000 section 3.5) or Reset, or when the
// connection is lost. It does not wait for a Write to find that out. It does not call f
// if this side has ended the direction itself. stop cancels the call, and reports whether
// it did so in time.
func (s *Stream) OnStopSending(f func()) (stop func() bool) {
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
	if err := s.writeBefore(); err != nil {
		return err
	}
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
	s.Flush() // the far side sees a connection that begins, then ends
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
