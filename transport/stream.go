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

// Stream carries the bytes of one TCP connection in both directions. It implements
// stream.Stream: one goroutine may read while another one writes. Read and Write go
// straight to QUIC; no buffer lies between.
//
// The owner has to end a Stream in both directions: reading by io.EOF or another error of
// Read, by CloseRead or Reset; writing by CloseWrite or Reset.
type Stream struct {
	quic   *quic.Stream
	conn   *conn
	header Header

	low      bool          // see LowCredit
	barrier  chan struct{} // the next stream waits for it; closed by openBarrier
	answered atomic.Bool
	counted  atomic.Bool  // in conn.limit
	granted  atomic.Int64 // of conn.account

	ip ipFields

	written uint64 // bytes; only the writer uses it
	read    uint64 // bytes; only the reader uses it
	urgent  marks  // among the bytes that are to be read

	// before is what an optimistic stream sends before the first bytes that are written:
	// the opener's header, or the acceptor's status.
	beforeMu sync.Mutex
	before   []byte
	// flushable: before is, or was, a header. The far side cannot begin without it.
	flushable bool
	// unconfirmed: the opener has not read the status. Only the reader uses it.
	unconfirmed bool
	ended       atomic.Uint32 // readEnded, writeEnded
}

const (
	readEnded  = 1
	writeEnded = 2
)

// newStream makes the Stream of a QUIC stream and adds it to the connection's.
func (c *conn) newStream(q *quic.Stream) *Stream {
	s := &Stream{quic: q, conn: c}
	c.mu.Lock()
	c.streams[s.ID()] = s
	c.mu.Unlock()
	return s
}

// end notes that directions have ended. With both, the connection forgets the stream.
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

// accept reads the header of a stream that the peer has opened and calls Config.Accept.
// before is the barrier of the stream that the peer opened before this one.
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
	if h.Urgent.Valid || h.Update.Valid {
		if h.Urgent.Valid {
			s.learnUrgent()
		} else {
			s.learnUpdate()
		}
		s.awaitBarrier(before)
		return
	}
	s.ip.first(h.IP)
	s.awaitBarrier(before)
	if !h.Optimistic {
		s.openBarrier() // the opener itself orders streams whose answers it waits for
	}
	if !h.HostAddr.IsValid() && !h.DirectTrial {
		s.low = s.conn.credits.arrived(h.Destination)
	}
	node.config.Accept(s)
	if !s.answered.Load() { // Accept has not done it, and the peer must not wait for ever
		s.Reset()
	}
}

// barrierWithin bounds how long a stream waits for the optimistic one before it, whose
// listener may have a full backlog.
const barrierWithin = 50 * time.Millisecond

// awaitBarrier waits until the stream before this one was answered, at most for
// barrierWithin. So two connections that a program opens one after the other are accepted
// in that order, also when both are optimistic.
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

// openBarrier lets the next stream go on. Only the accepting goroutine calls it.
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

// Answer sends the status of an accepted stream to its opener. The goroutine that Accept
// was called on calls it once. Any status but StatusOK ends the stream.
func (s *Stream) Answer(status Status) error {
	if s.answered.Swap(true) {
		return errors.New("the stream has an answer already")
	}
	s.openBarrier()
	if status == StatusOK {
		s.count()
		s.widen()
	}
	b := []byte{byte(status)}
	if status == StatusOK {
		b = s.appendOK(b[:0])
	}
	if status == StatusOK && s.header.Optimistic {
		s.beforeMu.Lock()
		s.before = b
		s.beforeMu.Unlock()
		return nil
	}
	_, err := s.write(b)
	if status != StatusOK {
		err = errors.Join(err, s.CloseWrite(), s.CloseRead())
	}
	return err
}

// Read implements io.Reader. It returns io.EOF after the peer's FIN, ErrReset after the
// peer's Reset, net.ErrClosed after this side's Reset or CloseRead, and an error that
// matches ErrLost after the end of the whole connection.
func (s *Stream) Read(b []byte) (int, error) {
	if err := s.confirm(); err != nil {
		return 0, err
	}
	n, err := s.quic.Read(b)
	s.read += uint64(n)
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case errors.Is(err, io.EOF):
		s.end(readEnded)
		return n, io.EOF
	}
	s.end(readEnded)
	return n, streamError(err)
}

// confirm reads the answer to an optimistic stream before the first bytes. If the far
// side has refused the stream, the program, which was told that it is connected, sees a
// reset, as from a server that ends at once.
func (s *Stream) confirm() error {
	if !s.unconfirmed {
		return nil
	}
	var status [1]byte
	_, err := io.ReadFull(s.quic, status[:])
	if err == nil && status[0] == statusIPFields {
		err = s.readIPFields()
		status[0] = byte(StatusOK)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		s.end(readEnded)
		if errors.Is(err, io.EOF) {
			return ErrReset // the peer has ended it without an answer
		}
		return streamError(err)
	}
	s.unconfirmed = false
	if Status(status[0]) != StatusOK {
		s.conn.credits.withdraw(s.header.Destination)
		s.CloseRead()
		return fmt.Errorf("%w: %w", ErrReset, &StatusError{Status(status[0])})
	}
	return nil
}

// Flush sends the header of an optimistic stream if nothing was written yet.
func (s *Stream) Flush() error {
	if !s.flushable {
		return nil // a status: the opener does not wait for it
	}
	return s.writeBefore()
}

// writeBefore writes what has to be sent before the first bytes, once.
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
	if s.flushable { // now the peer knows the stream
		s.widen()
	}
	return nil
}

// Wait waits until there is something to read: bytes, or the end. So a reader needs no
// buffer while it waits. Wait has the errors of Read, but leaves io.EOF to Read.
func (s *Stream) Wait() error {
	if err := s.confirm(); err != nil {
		return err
	}
	var b [1]byte
	_, err := s.quic.Peek(b[:])
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	s.end(readEnded)
	return streamError(err)
}

// Write implements io.Writer. It returns when QUIC has sent all but the last packet. It
// has the errors of Read. It also returns ErrReset after the peer's CloseRead.
func (s *Stream) Write(b []byte) (int, error) {
	n, err := s.write(b)
	s.written += uint64(n)
	return n, err
}

// write is Write without counting the bytes: they are not a program's.
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
		// Both ErrClosed itself, by CloseWrite or Reset, and ErrLost match ErrClosed.
		err := streamError(context.Cause(ctx))
		if !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrLost) {
			f()
		}
	})
}

// CloseWrite ends this side's bytes, as shutdown(SHUT_WR) does with FIN: the peer reads
// all that was written, then io.EOF. It must not be called at the same time as Write.
func (s *Stream) CloseWrite() error {
	if err := s.writeBefore(); err != nil {
		return err
	}
	s.end(writeEnded)
	return streamError(s.quic.Close())
}

// CloseRead tells the peer that this side reads no more. The peer's writes then fail with
// ErrReset.
func (s *Stream) CloseRead() error {
	s.quic.CancelRead(codeNoRead)
	s.end(readEnded)
	return nil
}

// Reset ends both directions, as RST does. The peer reads what was written before, then
// its reads and writes fail with ErrReset. Reset does nothing for directions that have
// ended.
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

// SetReadDeadline makes Read fail with os.ErrDeadlineExceeded from a time on; the zero
// time means never.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.quic.SetReadDeadline(t) }

// SetWriteDeadline is SetReadDeadline for Write.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.quic.SetWriteDeadline(t) }
