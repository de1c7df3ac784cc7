package coordinator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport"
)

// helloTimeout bounds how long a connection may take to say hello, from the end
// of its handshake.
const helloTimeout = 5 * time.Second

// A session is the server's side of one connection of one member.
type session struct {
	conn    *quic.Conn
	stream  *quic.Stream
	in      *bufio.Reader
	key     transport.Key
	version int // of the messages
	out     *outbox
	heard   atomic.Int64 // Server.uptime when the last message came, in nanoseconds

	joined  time.Duration // Server.uptime when the node was admitted
	asked   atomic.Int64  // likewise, when the node was asked for one last; 0: never
	awaited atomic.Bool   // somebody may wait for the answer
	left    atomic.Bool   // the node is no member any more
	silent  bool          // it is known for that; the goroutine of Server.tend has it

	// remote is the UDP address behind which the node was last seen. Once the
	// session is in the roster it belongs to the goroutine of Server.tend.
	remote netip.AddrPort

	will   string  // key of its last will; empty: it makes none
	limits *limits // only the reader has them

	id   uint32 // of the member; set by roster.admit
	sent uint64 // number of the last update that went out; only the writer has it
}

// serveConn serves one connection to its end.
func (s *Server) serveConn(ctx context.Context, conn *quic.Conn) {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.CloseWithError(codeAway,
			"the coordinator stops")
	})
	defer stop()
	err := s.greet(ctx, conn)
	code, text := quic.ApplicationErrorCode(codeDone), ""
	if r, ok := errors.AsType[*refusal](err); ok {
		code, text = r.code, clip(r.text, maxReason)
	} else if errors.Is(err, ErrProtocol) {
		code, text = codeProtocol, clip(err.Error(), maxReason)
	}
	_ = conn.CloseWithError(code, text)
	if err != nil && code != codeDone {
		s.log.Info("connection ended", "remote", conn.RemoteAddr(), "cause", err)
	}
}

// greet reads the hello and does what it asks for.
func (s *Server) greet(ctx context.Context, conn *quic.Conn) error {
	key, err := transport.PeerKey(conn.ConnectionState().TLS)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	soon, cancel := context.WithTimeout(ctx, s.helloTimeout)
	defer cancel()
	stream, err := conn.AcceptStream(soon)
	if err != nil {
		return refuse(codeProtocol, "no hello within %v", s.helloTimeout)
	}
	_ = stream.SetReadDeadline(time.Now().Add(s.helloTimeout))
	in := bufio.NewReader(stream)
	m, err := readMessage(in, maxHello)
	if err != nil {
		return err
	}
	_ = stream.SetReadDeadline(time.Time{})
	switch {
	case m.Hello == nil:
		return fmt.Errorf("%w: the first message is not a hello", ErrProtocol)
	case m.Hello.Version < oldestVersion || m.Hello.Version > protocolVersion:
		s.refusedVersion(conn, m.Hello.Version)
		return refuse(codeProtocol, "the node speaks version %d, the coordinator %d and %d; run the same version of boxer on both",
			m.Hello.Version, oldestVersion, protocolVersion)
	}
	c := &session{conn: conn, stream: stream, in: in, key: key, out: newOutbox(),
		limits: newLimits(), version: m.Hello.Version,
		remote: addrPortOf(conn.RemoteAddr())}
	if c.version >= 4 {
		if c.will, err = willKey(conn); err != nil {
			return err
		}
	}
	if m.Hello.Observe {
		return s.show(ctx, c, m.Hello)
	}
	return s.serveMember(ctx, c, m.Hello)
}

// refusedVersion has the log say, now and then, that nodes are refused for their
// version: their own log may be out of sight.
func (s *Server) refusedVersion(conn *quic.Conn, version int) {
	now := int64(s.uptime())
	last := s.versionTold.Load()
	if (last == 0 || now-last >= int64(overrunEvery)) &&
		s.versionTold.CompareAndSwap(last, now) {
		s.log.Warn("node refused: it speaks another version; run the same version of boxer on both",
			"remote", conn.RemoteAddr(), "node", version, "coordinator", protocolVersion)
	}
}

// show answers an observer, and waits until it has seen everything and goes.
func (s *Server) show(ctx context.Context, c *session, h *hello) error {
	if err := s.roster.state.admits(h.Token, time.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.helloTimeout)
	defer cancel()
	_ = c.stream.SetDeadline(time.Now().Add(s.helloTimeout))
	members := s.roster.snapshot()
	for i := range members {
		members[i] = members[i].in(c.version)
	}
	if _, err := c.stream.Write(appendPages(s.welcome(c, &welcome{Reflexive: c.remote}),
		members)); err != nil {
		return fmt.Errorf("answer observer: %w", err)
	}
	_ = c.stream.Close()
	select {
	case <-c.conn.Context().Done():
	case <-ctx.Done():
	}
	return nil
}

// serveMember admits the node and serves it until it leaves or is lost.
func (s *Server) serveMember(ctx context.Context, c *session, h *hello) error {
	remote := c.remote
	m, err := s.roster.applicant(h, c.key)
	if err != nil {
		return err
	}
	var dead []*session
	if h.Ticket == "" && m.Name != "" {
		if dead, err = s.awaitHolders(c.conn.Context(), m.Name); err != nil {
			return err
		}
	}
	c.joined = s.uptime()
	c.heard.Store(int64(c.joined))
	m, displaced, err := s.roster.admit(m, c, dead...)
	for _, d := range dead {
		s.evict(d, m.Name)
	}
	if displaced != nil {
		_ = displaced.conn.CloseWithError(codeReplaced, "")
	}
	if err != nil {
		return err
	}
	pass(c.conn.Context())
	defer func() {
		s.roster.remove(m.ID, c)
		s.inquiries.answered()
		s.log.Info("node left", "id", m.ID, "name", m.Name, "cause",
			context.Cause(c.conn.Context()))
	}()
	s.log.Info("node joined", "id", m.ID, "name", m.Name, "addr", m.Addr, "remote",
		remote, "back", h.Ticket != "")
	if h.Ticket == "" {
		s.inquiries.about(m.Name)
	}
	ticket, err := s.roster.tickets.seal(m)
	if err != nil {
		return err
	}
	first := s.welcome(c, &welcome{Self: m.in(c.version), Ticket: ticket, Reflexive: remote})
	first, c.sent = s.roster.list(first)

	var writer sync.WaitGroup
	defer writer.Wait()
	// The connection's own context: it ends with the connection, and so does the writer.
	writer.Go(func() { s.write(c, first) })
	err = s.read(c)
	code := quic.ApplicationErrorCode(codeDone)
	if errors.Is(err, ErrProtocol) {
		code = codeProtocol
	}
	_ = c.conn.CloseWithError(code, clip(err.Error(), maxReason))
	return err
}

// read takes the node's messages until the connection ends.
func (s *Server) read(c *session) error {
	for {
		b, err := readFrame(c.in, maxFrame)
		if err != nil {
			return err
		}
		slowed, err := c.limits.await(c.conn.Context(), len(b))
		if err != nil {
			return err
		}
		if slowed {
			s.overrun(c)
		}
		m, err := decodeMessage(b)
		if err != nil {
			return err
		}
		c.heard.Store(int64(s.uptime()))
		if c.awaited.Load() && c.awaited.Swap(false) {
			s.inquiries.answered()
		}
		switch {
		case m.Alive != nil:
		case m.Report != nil:
			s.roster.report(c.id, c, m.Report.Paths, m.Report.About)
		case m.Signal != nil:
			if err := s.forward(c, m.Signal); err != nil {
				return err
			}
		default:
			kind, _ := m.kind()
			return fmt.Errorf("%w: a node sends no %s", ErrProtocol, kind)
		}
	}
}

// What a receipt says when a signal was not passed on.
const (
	receiptNoNode = "no-node"
	receiptBusy   = "busy"
)

// overrun has the log say, now and then, that a member sends more than it may.
func (s *Server) overrun(c *session) {
	if c.limits.overrun() {
		s.log.Warn("node sends too many messages, and is slowed down", "id", c.id,
			"remote", c.conn.RemoteAddr())
	}
}

// forward passes a signal on and gives its sender a receipt.
func (s *Server) forward(c *session, sig *signal) error {
	r := &receipt{Seq: sig.Seq}
	switch to := s.roster.session(sig.Node); {
	case to == nil:
		r.Code, r.At = receiptNoNode, time.Now().UnixNano()
	case !c.limits.signal(sig.Node):
		r.Code = receiptBusy
		s.overrun(c)
	case !to.out.signal(c, frame(&message{Signal: &signal{Node: c.id, Data: sig.Data}})):
		r.Code = receiptBusy
	}
	return c.out.put(c.conn.Context(), frame(&message{Receipt: r}))
}

// write sends first, and then what the journal and the outbox have, until the
// connection ends. It waits for nobody but this one client.
func (s *Server) write(c *session, first []byte) {
	buf := first
	done := c.conn.Context().Done()
	var news time.Time        // when it was sent last
	var grown <-chan struct{} // closed when there is more of it
	for {
		if len(buf) > 0 {
			if _, err := c.stream.Write(buf); err != nil {
				return
			}
		}
		// The outbox is emptied first and sent last: what is in it may come from
		// a node whose arrival is in the journal, and has to follow it.
		buf = buf[:0:0]
		frames := c.out.take()
		buf, grown = s.catchUp(c, buf)
		if len(buf) > 0 {
			news = time.Now()
		}
		for _, f := range frames {
			buf = append(buf, f...)
		}
		if len(buf) > 0 {
			continue
		}
		select {
		case <-grown:
			if !c.gather(newsInterval(s.roster.size()) - time.Since(news)) {
				return
			}
		case <-c.out.filled:
		case <-done:
			return
		}
	}
}

// catchUp appends what the journal has for the client by now, and returns a channel that
// is closed once there is more.
func (s *Server) catchUp(c *session, buf []byte) ([]byte, <-chan struct{}) {
	for {
		updates, n, grown, ok := s.roster.journal.after(c.sent)
		switch {
		case !ok: // too far behind: the whole list again
			buf, c.sent = s.roster.list(buf)
		case n == 0:
			return buf, grown
		default:
			c.sent += uint64(n)
			buf = appendNews(buf, 0, c.sent, updates)
		}
	}
}

// News goes out at least newsEvery apart, and newsEach for each member: a thousand
// nodes that join are a million updates, and the coordinator sends a packet in 20
// to 50 us. Who is signalled by a newcomer knows it at once all the same.
const (
	newsEvery = 10 * time.Millisecond
	newsEach  = 100 * time.Microsecond
)

// newsInterval is how far apart news goes out when much comes, to so many members.
func newsInterval(members int) time.Duration {
	return max(newsEvery, time.Duration(members)*newsEach)
}

// gather lets news gather for d, less if there is something else to send. It
// returns false when the connection has ended.
func (c *session) gather(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.out.filled:
	case <-c.conn.Context().Done():
		return false
	}
	return true
}

// welcome returns the frame of the welcome, completed.
func (s *Server) welcome(c *session, w *welcome) []byte {
	if c.version >= 4 {
		w.Version = c.version
	}
	w.Prefix, w.Prefix6 = s.roster.plan.prefix, s.roster.plan.prefix6
	w.Lease, w.Started, w.Program = s.cfg.Lease, s.started, s.cfg.Version
	return frame(&message{Welcome: w})
}

// appendPages appends the members as page frames.
func appendPages(dst []byte, rest []Member) []byte {
	for {
		n, paths := 0, 0
		for n < len(rest) && n < pageMembers &&
			(n == 0 || paths+len(rest[n].Paths) <= pagePaths) {
			paths += len(rest[n].Paths)
			n++
		}
		p := &page{Members: rest[:n], Last: n == len(rest)}
		dst = append(dst, frame(&message{Page: p})...)
		if rest = rest[n:]; p.Last {
			return dst
		}
	}
}
