package syscalls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// relayBuffer is the size of one read, in bytes. The kernel rarely has more data ready.
// It makes several QUIC packets, which are sent together.
const relayBuffer = 128 << 10

var relayBuffers = sync.Pool{New: func() any { return new([relayBuffer]byte) }}

// Relay copies data between a program's TCP connection that this process has accepted,
// and which it owns, and a stream, until both directions have ended. Each ends as in TCP:
// FIN for FIN, and RST for RST.
func Relay(ctx context.Context, accepted *net.TCPConn, stream Stream) error {
	conn, err := loopConnOf(accepted)
	if err != nil {
		stream.Reset()
		return fmt.Errorf("relay: %w", err)
	}
	relay(ctx, context.Background(), conn, stream)
	return nil
}

// relay relays a connection of one of the node's programs. The caller has counted it in
// n.relays before the program could see it, so that Drain waits for it.
func (n *Node) relay(conn Conn, stream Stream) {
	defer n.relays.Add(-1)
	if relay(n.ctx, n.left, conn, stream) {
		n.cut.Store(true)
	}
}

// relay is Relay for a program's connection. When left ends, the program has ended: relay
// still sends what the program has written, and drops the rest. It then returns true,
// because the far side has not confirmed the data.
func relay(ctx, left context.Context, conn Conn, stream Stream) (cut bool) {
	// The far side's reset must not overtake data that is still being delivered in the
	// other direction. So the reset waits until both directions are done.
	var outReset, inReset bool
	stop := context.AfterFunc(ctx, func() {
		conn.SetLinger(0)
		conn.Close()
		stream.Reset()
	})
	defer stop()
	var out sync.WaitGroup
	sent := make(chan struct{})
	out.Go(func() {
		outReset = fromProgram(conn, stream)
		close(sent)
		if !outReset {
			watchReset(conn, stream)
		}
	})
	dropping := make(chan struct{})
	drop := context.AfterFunc(left, func() {
		defer close(dropping)
		<-sent
		stream.CloseRead()
	})
	inReset = toProgram(conn, stream)
	<-sent
	if !drop() {
		<-dropping
		cut = true
	}
	if outReset && !inReset {
		// The far side has ended its direction in order, and reads no more. A reset would
		// now discard data that the program has not read yet.
		watchSent(conn)
	}
	if outReset || inReset {
		conn.SetLinger(0) // close(2) sends RST, socket(7)
	}
	conn.Close()
	out.Wait()
	return cut
}

// fromProgram relays what the program writes. It returns true if the far side has stopped
// reading, which TCP signals by a reset.
func fromProgram(conn Conn, stream Stream) (reset bool) {
	defer stream.OnStopSending(func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	src, err := newTCPSource(conn)
	if err == nil {
		src.empty = func() { stream.Flush() } // the next write returns its error, too
		err = copyBytes(stream, src)
	}
	switch {
	case err == nil:
		stream.CloseWrite()
	case errors.Is(err, errWrite), errors.Is(err, os.ErrDeadlineExceeded):
		// The program learns that when the other direction ends: at once, or never if it
		// only reads, as with TCP.
		stream.CloseWrite()
		return true
	default: // the program reset its connection, or ended with unread data
		stream.Reset()
	}
	return false
}

// watchReset waits for a reset by a program that has ended its direction and stops
// reading: TCP sends RST for data that still arrives. Otherwise it waits until conn is
// closed.
func watchReset(conn Conn, stream Stream) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		state, err := tcpState(int(fd))
		return err != nil || state == tcpClose
	})
	if err == nil {
		stream.CloseRead()
	}
}

// watchSent waits until the program's socket has received everything that was written,
// and the FIN, or until conn is closed. The kernel wakes pollers when the FIN is
// acknowledged (tcp_rcv_state_process in net/ipv4/tcp_input.c).
func watchSent(conn Conn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	raw.Write(func(fd uintptr) bool {
		state, err := tcpState(int(fd))
		return err != nil || state != tcpFinWait1 && state != tcpClosing
	})
}

// toProgram relays what the program reads. It returns true if the far side has reset the
// connection.
func toProgram(conn Conn, stream Stream) (reset bool) {
	switch err := copyBytes(conn, &streamSource{stream: stream}); {
	case err == nil:
		conn.CloseWrite()
	case errors.Is(err, errWrite): // the program has closed its socket
		stream.CloseRead()
	default:
		// This also ends fromProgram, which may wait for a silent program.
		conn.SetLinger(0)
		conn.Close()
		return true
	}
	return false
}

// errWrite marks an error of the destination.
var errWrite = errors.New("write")

// A source returns received data. The buffer stays the source's, until the next call. A
// source holds no buffer while it waits: most connections wait most of the time.
type source interface {
	// next returns the next data, and io.EOF at the end. If urgent is true, the last byte
	// is urgent: see urgent.go.
	next() (b []byte, urgent bool, err error)
}

// A sink is the destination of a relay: a Conn or a Stream.
type sink interface {
	io.Writer
	MarkUrgent() error // see Stream
}

// copyBytes copies until src ends. Unlike io.Copy, it marks errors of the destination by
// errWrite.
func copyBytes(dst sink, src source) error {
	for {
		b, urgent, err := src.next()
		if urgent {
			if err := writeUrgent(dst, b); err != nil {
				return errors.Join(errWrite, err)
			}
			continue
		}
		if len(b) > 0 {
			if _, err := dst.Write(b); err != nil {
				return errors.Join(errWrite, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writeUrgent writes b, whose last byte is urgent.
func writeUrgent(dst sink, b []byte) error {
	last := len(b) - 1
	if last > 0 {
		if _, err := dst.Write(b[:last]); err != nil {
			return err
		}
	}
	dst.MarkUrgent() // after an error, the byte is sent as ordinary data
	_, err := dst.Write(b[last:])
	return err
}

// A pooledBuffer has a buffer of the pool while it has data to return.
type pooledBuffer struct{ buf *[relayBuffer]byte }

func (l *pooledBuffer) take() []byte {
	if l.buf == nil {
		l.buf = relayBuffers.Get().(*[relayBuffer]byte)
	}
	return l.buf[:]
}

func (l *pooledBuffer) release() {
	if l.buf != nil {
		relayBuffers.Put(l.buf)
		l.buf = nil
	}
}

// A tcpSource reads a loopback connection.
type tcpSource struct {
	pooledBuffer
	raw syscall.RawConn
	n   int
	err error

	urgency *urgency              // nil: none
	urgent  bool                  // the read byte is urgent
	read    func(fd uintptr) bool // tryRead, stored because a method value is an allocation

	empty func() // if not nil, called once: the first time that there is no data
}

func newTCPSource(c Conn) (*tcpSource, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &tcpSource{raw: raw}
	if l, ok := c.(*loopConn); ok {
		s.urgency = l.urgency
	}
	s.read = s.tryRead
	return s, nil
}

func (s *tcpSource) next() (b []byte, urgent bool, err error) {
	if err := s.raw.Read(s.read); err != nil {
		s.release()
		return nil, false, err
	}
	if s.err == nil && s.n == 0 {
		s.err = io.EOF
	}
	if s.err != nil {
		s.release()
		return nil, false, s.err
	}
	return s.buf[:s.n], s.urgent, nil
}

// tryRead returns false if there is no data yet.
func (s *tcpSource) tryRead(fd uintptr) bool {
	for {
		s.n, s.urgent, s.err = s.urgency.read(fd, s.take())
		switch {
		case errors.Is(s.err, unix.EINTR):
			continue
		case errors.Is(s.err, unix.EAGAIN):
			s.release()
			if s.empty != nil {
				s.empty()
				s.empty = nil
			}
			return false
		}
		return true
	}
}

// A streamSource reads a stream.
type streamSource struct {
	pooledBuffer
	stream Stream

	rest []byte // data behind an urgent byte that was returned
	err  error  // the error of the Read that returned rest
}

func (s *streamSource) next() (b []byte, urgent bool, err error) {
	if len(s.rest) == 0 {
		if err := s.fill(); err != nil {
			s.release()
			return nil, false, err
		}
	}
	b = s.rest
	if at := s.stream.UrgentIn(len(b)); at >= 0 {
		b, urgent = b[:at+1], true
	}
	s.rest = s.rest[len(b):]
	return b, urgent, nil
}

// fill reads from the stream. next returns an error after the bytes that were read with
// it.
func (s *streamSource) fill() error {
	if s.err != nil {
		return s.err
	}
	s.release()
	if err := s.stream.Wait(); err != nil {
		return err
	}
	var n int
	n, s.err = s.stream.Read(s.take())
	s.rest = s.buf[:n]
	if n == 0 {
		return s.err
	}
	return nil
}
