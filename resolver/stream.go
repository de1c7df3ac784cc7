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

	"github.com/miekg/dns"
)

const (
	// maxOwnQuery bounds the questions that can be about the network's names, in bytes.
	// Larger messages are passed on as they come.
	maxOwnQuery = 1 << 10
	// holdFor is how long the beginning of a message is held back until the rest is
	// there.
	holdFor = 100 * time.Millisecond
	// streamQueue is how many pieces a Stream has ready for who reads.
	streamQueue = 4
	// finTimeout is how long Linux waits for the peer's FIN (tcp_fin_timeout, tcp(7)).
	finTimeout = time.Minute
	// streamPiece is the largest piece, in bytes.
	streamPiece = 32 << 10
)

// A Stream is a TCP connection to a nameserver of a program's own choice. What the
// program asks about the network's names is answered here, between the server's own
// messages; all else passes in both directions, zone transfers and updates among it, and
// also what is no DNS at all. Read and Write may be called at once, each by one
// goroutine.
type Stream struct {
	server *Server
	client Client
	conn   *net.TCPConn
	ctx    context.Context // ends with Close and Reset
	cancel context.CancelFunc
	unread context.Context // ends with ctx, and when the program reads no more
	closed context.CancelFunc

	writing sync.Mutex
	held    []byte      // by writing: the beginning of a message
	rest    int         // by writing: bytes to come of a message that is passed on
	foreign bool        // by writing: what the program sends is no DNS
	timer   *time.Timer // by writing: passes on what is held
	sent    bool        // by writing: the program sends no more

	out   chan []byte   // for Read
	ended chan struct{} // closed when the server sends no more, or has failed
	err   error         // why, once ended is closed
	left  []byte        // by Read: what it had no room for

	answering sync.Mutex
	frames    frames    // by answering: where the server's messages end
	follows   *follower // by answering: what they say; nil: nobody wants to know
	waiting   [][]byte  // by answering: answers for the next end of one
}

// Dial connects to the nameserver at addr. Its error has the errno of connect(2). The
// Stream belongs to the caller, who ends it by Reset, or by CloseWrite and reading to the
// end.
func (s *Server) Dial(ctx context.Context, addr netip.AddrPort) (*Stream, error) {
	return s.DialFor(ctx, Client{Server: addr}, false)
}

// DialFor is Dial for a client. observed says whether Config.Observe is told of what
// passes.
func (s *Server) DialFor(ctx context.Context, by Client, observed bool) (*Stream, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", by.Server.String())
	if err != nil {
		return nil, fmt.Errorf("connect to nameserver: %w", err)
	}
	st := &Stream{
		server: s, client: by, conn: c.(*net.TCPConn),
		out: make(chan []byte, streamQueue), ended: make(chan struct{}),
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

// receive reads what the server sends, until it ends or the Stream does.
func (st *Stream) receive() {
	defer st.cancel()
	defer st.conn.Close()
	defer close(st.ended)
	defer st.server.leave(st)
	stop := context.AfterFunc(st.ctx, func() { st.conn.Close() })
	defer stop()
	for {
		b := make([]byte, streamPiece)
		n, err := st.conn.Read(b)
		if n > 0 {
			st.pass(b[:n])
		}
		if n > 0 && st.unread.Err() != nil {
			st.conn.SetLinger(0) // as the kernel answers what nobody reads any more
			st.err = net.ErrClosed
			return
		}
		if err != nil {
			st.err = err
			return
		}
	}
}

// pass hands on what the server has sent, with the answers that wait behind the last end
// of a message.
func (st *Stream) pass(b []byte) {
	st.answering.Lock()
	defer st.answering.Unlock()
	end := st.frames.next(b)
	if st.follows != nil {
		for msg := range st.follows.messages(b) {
			st.server.came(passKey{stream: st}, msg)
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
	st.put(b[end:])
}

// answer hands on a message of ours, as soon as no message of the server's has begun.
func (st *Stream) answer(msg []byte) {
	b := append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	st.answering.Lock()
	defer st.answering.Unlock()
	if !st.frames.between() {
		st.waiting = append(st.waiting, b)
		return
	}
	st.put(b)
}

func (st *Stream) put(b []byte) {
	if len(b) == 0 {
		return
	}
	select {
	case st.out <- b:
	case <-st.unread.Done():
	}
}

// Read reads what the server has sent, and the answers of ours.
func (st *Stream) Read(b []byte) (int, error) {
	if len(st.left) == 0 {
		select {
		case st.left = <-st.out:
		default:
			select {
			case st.left = <-st.out:
			case <-st.ended:
				select {
				case st.left = <-st.out: // it was there before the end
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

// Wait waits until Read would not wait.
func (st *Stream) Wait() error {
	for len(st.left) == 0 {
		select {
		case st.left = <-st.out:
		case <-st.ended:
			return nil // Read says why, behind what is left
		}
	}
	return nil
}

// Flush does nothing: what Write holds back has to be answered or passed on whole, and is
// not held for longer than holdFor.
func (st *Stream) Flush() error { return nil }

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
		default: // by Reset
		}
	})
}

// Write sends what the program says. It holds back the beginning of a message that may
// have to be answered here, for holdFor at most.
func (st *Stream) Write(b []byte) (int, error) {
	st.writing.Lock()
	defer st.writing.Unlock()
	for size := len(b); ; {
		if st.foreign || st.rest > 0 {
			n := len(b)
			if !st.foreign {
				n = min(n, st.rest)
				st.rest -= n
			}
			if _, err := st.conn.Write(b[:n]); err != nil {
				return 0, err
			}
			b = b[n:]
			if len(b) == 0 {
				return size, nil
			}
			continue
		}
		var err error
		if b, err = st.message(b); err != nil || len(b) == 0 {
			return size, err
		}
	}
}

// message takes what b has of one message, and returns the rest of b.
func (st *Stream) message(b []byte) (rest []byte, err error) {
	if st.timer != nil {
		st.timer.Stop()
	}
	const prefix = 2
	want := prefix
	if len(st.held) < prefix {
		n := min(len(b), prefix-len(st.held))
		st.held, b = append(st.held, b[:n]...), b[n:]
	}
	if len(st.held) >= prefix {
		length := int(binary.BigEndian.Uint16(st.held))
		want += length
		if length < headerSize || length > maxOwnQuery {
			st.foreign = length < headerSize
			return b, st.release(want)
		}
		n := min(len(b), want-len(st.held))
		st.held, b = append(st.held, b[:n]...), b[n:]
	}
	if len(st.held) < want {
		st.timer = time.AfterFunc(holdFor, st.late)
		return b, nil
	}
	query := st.held[prefix:]
	if query[2]&flagQR != 0 || int(query[2]&maskOpcode)>>3 > dns.OpcodeUpdate {
		st.foreign = true
	} else if answer := st.server.own(st.client, query, true); answer != nil {
		st.held = nil
		st.answer(answer)
		return b, nil
	} else if st.follows != nil {
		st.server.sent(passKey{stream: st}, st.client, query)
	}
	return b, st.release(want)
}

// release passes on what is held of a message of size bytes, and what comes of it.
func (st *Stream) release(size int) error {
	held := st.held
	st.held, st.rest = nil, size-len(held)
	_, err := st.conn.Write(held)
	return err
}

// late passes on what is held for too long: it may be no DNS.
func (st *Stream) late() {
	st.writing.Lock()
	defer st.writing.Unlock()
	if len(st.held) > 0 {
		st.foreign = true
		st.conn.Write(st.held) // an error is also the next write's
		st.held = nil
	}
}

// CloseWrite says that the program sends no more.
func (st *Stream) CloseWrite() error {
	st.writing.Lock()
	defer st.writing.Unlock()
	st.sent = true
	if len(st.held) > 0 {
		st.conn.Write(st.held)
		st.held = nil
	}
	return st.conn.CloseWrite()
}

// CloseRead says that the program reads no more: what the server still sends fails there.
// A server that says nothing is left after finTimeout.
func (st *Stream) CloseRead() error {
	st.closed()
	return st.conn.SetReadDeadline(time.Now().Add(finTimeout))
}

// Reset ends the connection in both directions.
func (st *Stream) Reset() {
	st.conn.SetLinger(0)
	st.cancel()
}

// frames knows where messages end in a stream of them (RFC 1035 section 4.2.2).
type frames struct {
	size []byte // the length that has begun
	rest int    // what is to come of the message
}

// between reports whether no message has begun.
func (f *frames) between() bool { return f.rest == 0 && len(f.size) == 0 }

// next follows b, and returns where in b the last message ends, or -1.
func (f *frames) next(b []byte) (end int) {
	end = -1
	for at := 0; at < len(b); {
		if f.rest == 0 {
			f.size = append(f.size, b[at])
			at++
			if len(f.size) < 2 {
				continue
			}
			f.rest = int(binary.BigEndian.Uint16(f.size))
			f.size = f.size[:0]
		}
		n := min(f.rest, len(b)-at)
		f.rest -= n
		at += n
		if f.rest == 0 {
			end = at
		}
	}
	return end
}

var _ io.ReadWriter = (*Stream)(nil)
