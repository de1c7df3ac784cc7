package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// streamQueue is the number of pieces that a Stream holds ready for Read.
	streamQueue = 4
	// streamPiece is the size of the largest piece, in bytes.
	streamPiece = 32 << 10
	// maxWaitingAnswers bounds the local answers that wait for the end of a message of
	// the server. Write blocks while there are as many.
	maxWaitingAnswers = 64
	// finTimeout is how long Linux waits for the peer's FIN (tcp_fin_timeout, tcp(7)).
	finTimeout = time.Minute
)

// A Stream is a TCP connection to a nameserver that a program has chosen itself. The
// Stream answers the program's questions about the network's names locally, and inserts
// these answers between the messages of the nameserver. All other bytes pass unchanged in
// both directions: zone transfers, updates, and also protocols other than DNS.
//
// One goroutine may call Read and Wait while another one calls Write and CloseWrite. Any
// goroutine may call CloseRead and Reset.
type Stream struct {
	server *Server
	client Client
	conn   *net.TCPConn
	ctx    context.Context // ends with Reset, and when receive returns
	cancel context.CancelFunc
	unread context.Context // ends with ctx, and with CloseRead
	closed context.CancelFunc

	writing sync.Mutex // guards fromProgram
	fromProgram

	out   chan []byte   // for Read
	ended chan struct{} // closed when receive has read the last byte
	err   error         // why receive ended; valid after ended is closed
	left  []byte        // the rest of the piece that Read has begun; owned by Read

	answering sync.Mutex // guards what follows; taken after writing
	frames    frames     // where messages of the server end
	follows   *follower  // the server's messages; nil: Config.Observe does not want them
	waiting   [][]byte   // local answers that wait for the end of a server's message
	drained   chan struct{}
}

// Dial connects to the nameserver at addr. An error of connect(2) is in the chain of the
// error that it returns. The caller owns the Stream, and ends it either by Reset, or by
// CloseWrite and by reading until the end.
func (s *Server) Dial(ctx context.Context, addr netip.AddrPort) (*Stream, error) {
	return s.DialFor(ctx, Client{Server: addr}, false)
}

// DialFor is Dial for a client. With observed, Config.Observe gets the questions and
// answers that pass.
func (s *Server) DialFor(ctx context.Context, by Client, observed bool) (*Stream, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", by.Server.String())
	if err != nil {
		return nil, fmt.Errorf("connect to nameserver: %w", err)
	}
	st := &Stream{
		server: s, client: by, conn: c.(*net.TCPConn),
		out: make(chan []byte, streamQueue), ended: make(chan struct{}),
		drained: make(chan struct{}),
	}
	st.ctx, st.cancel = context.WithCancel(s.ctx)
	st.unread, st.closed = context.WithCancel(st.ctx)
	if observed && s.observe != nil {
		st.follows = &follower{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return nil, fmt.Errorf("connect to nameserver: %w", net.ErrClosed)
	}
	s.running.Go(st.receive)
	return st, nil
}

// receive reads what the nameserver sends, until the connection or the Stream ends.
func (st *Stream) receive() {
	defer st.stopHolding()
	defer st.cancel()
	defer st.conn.Close()
	defer close(st.ended)
	defer st.server.giveUpStream(st)
	stop := context.AfterFunc(st.ctx, func() { st.conn.Close() })
	defer stop()
	for {
		b := make([]byte, streamPiece)
		n, err := st.conn.Read(b)
		if n > 0 {
			st.pass(b[:n])
		}
		if n > 0 && st.unread.Err() != nil {
			// The kernel resets a connection whose data nobody reads any more.
			st.conn.SetLinger(0)
			st.err = net.ErrClosed
			return
		}
		if err != nil {
			st.err = err
			return
		}
	}
}

// pass queues bytes of the nameserver for Read. It inserts the waiting answers after the
// last message that ends in b.
func (st *Stream) pass(b []byte) {
	st.answering.Lock()
	defer st.answering.Unlock()
	end := st.frames.next(b)
	if st.follows != nil {
		for msg := range st.follows.messages(b) {
			st.server.noteAnswer(pendingKey{stream: st}, msg)
		}
	}
	if end < 0 || len(st.waiting) == 0 {
		st.put(b)
		return
	}
	st.put(b[:end])
	for _, answer := range st.waiting {
		st.put(answer)
	}
	st.waiting = nil
	close(st.drained)
	st.drained = make(chan struct{})
	st.put(b[end:])
}

// answer queues a local answer for Read. If the nameserver is in the middle of a message,
// the answer waits for the end of that message. While too many answers wait, so does
// answer: the program's further questions then fill its send buffer, as they do when a
// nameserver does not read them.
func (st *Stream) answer(msg []byte) {
	b := append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	for {
		st.answering.Lock()
		if st.frames.between() {
			st.put(b)
			st.answering.Unlock()
			return
		}
		if len(st.waiting) < maxWaitingAnswers {
			st.waiting = append(st.waiting, b)
			st.answering.Unlock()
			return
		}
		drained := st.drained
		st.answering.Unlock()
		select {
		case <-drained:
		case <-st.unread.Done():
			return
		}
	}
}

// put queues a piece for Read, unless the program has stopped reading.
func (st *Stream) put(b []byte) {
	if len(b) == 0 {
		return
	}
	select {
	case st.out <- b:
	case <-st.unread.Done():
	}
}

// Read reads what the nameserver sends, and the local answers between its messages.
func (st *Stream) Read(b []byte) (int, error) {
	if len(st.left) == 0 {
		select {
		case st.left = <-st.out:
		default:
			select {
			case st.left = <-st.out:
			case <-st.ended:
				select {
				case st.left = <-st.out: // it was queued before the end
				default:
					return 0, st.err
				}
			}
		}
	}
	n := copy(b, st.left)
	st.left = st.left[n:]
	return n, nil
}

// Wait blocks until Read would return at once.
func (st *Stream) Wait() error {
	for len(st.left) == 0 {
		select {
		case st.left = <-st.out:
		case <-st.ended:
			return nil // Read returns the error, after the rest of the data
		}
	}
	return nil
}

// OnStopSending calls f, once and on a goroutine of its own, when the server has reset
// the connection and the program could still write. stop cancels the call, and reports
// whether it did so in time.
func (st *Stream) OnStopSending(f func()) (stop func() bool) {
	return context.AfterFunc(st.ctx, func() {
		st.writing.Lock()
		sent := st.sent
		st.writing.Unlock()
		select {
		case <-st.ended:
			if !sent && !errors.Is(st.err, io.EOF) && !errors.Is(st.err, net.ErrClosed) {
				f()
			}
		default: // the program has called Reset
		}
	})
}

// CloseRead says that the program reads no more. The nameserver's connection is reset if
// it sends anything after that, and ends after finTimeout if it does not.
func (st *Stream) CloseRead() error {
	st.closed()
	return st.conn.SetReadDeadline(time.Now().Add(finTimeout))
}

// Reset ends the connection in both directions, with an RST.
func (st *Stream) Reset() {
	st.conn.SetLinger(0)
	st.cancel()
}

var _ io.ReadWriter = (*Stream)(nil)
