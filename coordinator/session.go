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

// helloTimeout limits the time from the end of a connection's handshake to its hello.
const helloTimeout = 5 * time.Second

// A session is the server's side of the connection of one member.
type session struct {
	conn      *quic.Conn
	stream    *quic.Stream
	in        *bufio.Reader
	key       transport.Key
	version   int // of the message protocol
	queue     *sendQueue
	lastHeard atomic.Int64 // Server.uptime of the last message, in nanoseconds

	joinedAt time.Duration // Server.uptime when the node was admitted
	// Server.uptime of the last ping, in nanoseconds; 0: never
	lastPing      atomic.Int64
	awaitingReply atomic.Bool // a goroutine may wait for the answer to a ping
	left          atomic.Bool // the node is no longer a member
	asleep        atomic.Bool // the node has said that it is
	presences     bool        // the node takes updates of kindPresence
	// what the members know; owned by the goroutine of Server.maintain
	unresponsive bool

	// remote is the node's UDP address. Once the session is in the membership, the
	// goroutine of Server.maintain owns it.
	remote netip.AddrPort

	willKey string  // key of the node's last will; empty: it has none
	limits  *limits // owned by readLoop

	enforces bool                 // the node enforces policies
	view     atomic.Pointer[view] // what it sees; stored with membership.mu held

	id uint32 // of the member; set by membership.admit
	// The last update that was sent: its journal, and its number there. writeLoop owns
	// both.
	sentView *view
	sentSeq  uint64
}

// serveConn serves one connection until it ends.
func (s *Server) serveConn(ctx context.Context, conn *quic.Conn) {
	stop := context.AfterFunc(ctx, func() {
		_ = conn.CloseWithError(codeShutdown,
			"the coordinator is stopping")
	})
	defer stop()
	err := s.handleHello(ctx, conn)
	code, text := quic.ApplicationErrorCode(codeDone), ""
	if r, ok := errors.AsType[*refusal](err); ok {
		code, text = r.code, clip(r.text, maxReason)
	} else if errors.Is(err, ErrProtocol) {
		code, text = codeProtocol, clip(err.Error(), maxReason)
	}
	_ = conn.CloseWithError(code, text)
	if err != nil && code != codeDone {
		s.log.Info("connection ended", "remote", conn.RemoteAddr(), "err", err)
	}
}

// handleHello reads the hello, and serves a member or an observer.
func (s *Server) handleHello(ctx context.Context, conn *quic.Conn) error {
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
		s.warnVersion(conn, m.Hello.Version)
		return refuse(codeProtocol, "the node speaks version %d, the coordinator %d and %d; run the same version of boxer on both",
			m.Hello.Version, oldestVersion, protocolVersion)
	}
	c := &session{conn: conn, stream: stream, in: in, key: key, queue: newSendQueue(),
		limits: newLimits(), version: m.Hello.Version, presences: m.Hello.Presence != nil,
		enforces: m.Hello.Policies,
		remote:   addrPortOf(conn.RemoteAddr())}
	if c.version >= 4 {
		if c.willKey, err = exportWillKey(conn); err != nil {
			return err
		}
	}
	if m.Hello.Observe {
		err = s.serveObserver(ctx, c, m.Hello)
	} else {
		err = s.serveMember(ctx, c, m.Hello)
	}
	s.audit.refused(c, m.Hello, err)
	s.metrics.refused(err)
	return err
}

// warnVersion logs, at most once per warnInterval, that the coordinator refuses nodes for
// their protocol version. The nodes' own logs may be out of sight.
func (s *Server) warnVersion(conn *quic.Conn, version int) {
	now := int64(s.uptime())
	last := s.versionLoggedAt.Load()
	if (last == 0 || now-last >= int64(warnInterval)) &&
		s.versionLoggedAt.CompareAndSwap(last, now) {
		s.log.Warn("node refused: it speaks another version; run the same version of boxer on both",
			"remote", conn.RemoteAddr(), "node", version, "coordinator", protocolVersion)
	}
}

// serveObserver sends the members and their paths, and waits until the observer closes
// the connection.
func (s *Server) serveObserver(ctx context.Context, c *session, h *hello) error {
	g, err := s.members.state.admits(h.Token, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.helloTimeout)
	defer cancel()
	_ = c.stream.SetDeadline(time.Now().Add(s.helloTimeout))
	if h.Name != "" {
		if err := s.members.state.mayName(g, h.Name); err != nil {
			return err
		}
	}
	members := s.members.snapshotFor(g, h.Name)
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

// serveMember admits the node, and serves it until it leaves or is lost.
func (s *Server) serveMember(ctx context.Context, c *session, h *hello) error {
	remote := c.remote
	m, g, err := s.members.authorize(h, c.key)
	if err != nil {
		return err
	}
	var dead []*session
	if h.Ticket == "" && m.Name != "" {
		if dead, err = s.awaitHolders(c.conn.Context(), m.Name); err != nil {
			return err
		}
	}
	c.joinedAt = s.uptime()
	c.lastHeard.Store(int64(c.joinedAt))
	c.asleep.Store(m.Asleep)
	m, displaced, err := s.members.admit(m, g, c, dead...)
	for _, d := range dead {
		s.evict(d, m.Name)
	}
	if displaced != nil {
		_ = displaced.conn.CloseWithError(codeReplaced, "")
	}
	if err != nil {
		return err
	}
	releaseHandshake(c.conn.Context())
	defer func() {
		if s.sleepsOn(c) {
			return
		}
		s.members.remove(m.ID, c)
		s.recordLeave(m, remote, context.Cause(c.conn.Context()).Error())
	}()
	if h.Ticket == "" {
		s.metrics.joins.Inc()
	} else {
		s.metrics.rejoins.Inc()
	}
	s.audit.member(map[bool]string{false: "join", true: "rejoin"}[h.Ticket != ""], m,
		remote.String(), "")
	s.log.Info("node joined", "id", m.ID, "name", m.Name, "addr", m.Addr, "remote",
		remote, "back", h.Ticket != "")
	if h.Ticket == "" {
		s.probes.start(m.Name)
	}
	ticket, err := s.members.tickets.seal(m, g.id)
	if err != nil {
		return err
	}
	first := s.welcome(c, &welcome{Self: m.in(c.version), Ticket: ticket, Reflexive: remote})
	first = s.members.appendList(first, c)

	var writer sync.WaitGroup
	defer writer.Wait()
	// This is the connection's own context, so that writeLoop ends with the connection.
	writer.Go(func() { s.writeLoop(c, first) })
	err = s.readLoop(c)
	code := quic.ApplicationErrorCode(codeDone)
	if errors.Is(err, ErrProtocol) {
		code = codeProtocol
	}
	_ = c.conn.CloseWithError(code, clip(err.Error(), maxReason))
	return err
}

// recordLeave logs that a node has left, and tells those who wait for that.
func (s *Server) recordLeave(m Member, remote netip.AddrPort, cause string) {
	s.probes.notifyResponse()
	s.log.Info("node left", "id", m.ID, "name", m.Name, "err", cause)
	s.metrics.leaves.Inc()
	s.audit.member("leave", m, remote.String(), clip(cause, maxReason))
}

// readLoop handles the node's messages until the connection ends.
func (s *Server) readLoop(c *session) error {
	for {
		b, err := readFrame(c.in, maxFrame)
		if err != nil {
			return err
		}
		slowed, err := c.limits.wait(c.conn.Context(), len(b))
		if err != nil {
			return err
		}
		if slowed {
			s.warnRate(c)
		}
		m, err := decodeMessage(b)
		if err != nil {
			return err
		}
		c.lastHeard.Store(int64(s.uptime()))
		if c.awaitingReply.Load() && c.awaitingReply.Swap(false) {
			s.probes.notifyResponse()
		}
		switch {
		case m.Heartbeat != nil:
		case m.Report != nil:
			s.members.setReport(c.id, c, m.Report.Paths, m.Report.About)
		case m.Presence != nil:
			if err := s.changePresence(c, m.Presence); err != nil {
				return err
			}
		case m.Signal != nil:
			if err := s.forwardSignal(c, m.Signal); err != nil {
				return err
			}
		default:
			kind, _ := m.kind()
			return fmt.Errorf("%w: a node sends no %s", ErrProtocol, kind)
		}
	}
}

// The codes of an ack for a signal that was not forwarded.
const (
	ackNoNode = "no-node"
	ackBusy   = "busy"
)

// warnRate logs, at most once per warnInterval, that a member sends more than it may.
func (s *Server) warnRate(c *session) {
	if c.limits.mayWarn() {
		s.log.Warn("node sends too many messages; the coordinator slows it down", "id", c.id,
			"remote", c.conn.RemoteAddr())
	}
}

// forwardSignal forwards a signal, and sends an ack to its sender.
func (s *Server) forwardSignal(c *session, sig *signal) error {
	r := &ack{Seq: sig.Seq}
	switch to := s.members.visible(c, sig.Node); {
	case to == nil:
		r.Code, r.At = ackNoNode, time.Now().UnixNano()
	case !c.limits.signal(sig.Node):
		r.Code = ackBusy
		s.warnRate(c)
	case !to.queue.addSignal(c, frame(&message{Signal: &signal{Node: c.id, Data: sig.Data}})):
		r.Code = ackBusy
	}
	if r.Code == "" {
		s.metrics.signals.Inc()
	} else {
		s.metrics.signalsRefused.Inc()
	}
	return c.queue.add(c.conn.Context(), frame(&message{Ack: r}))
}

// writeLoop sends first, and then what the journal and the send queue have, until the
// connection ends. It waits for no other client.
func (s *Server) writeLoop(c *session, first []byte) {
	buf := first
	done := c.conn.Context().Done()
	var sentAt time.Time         // when updates were last sent
	var appended <-chan struct{} // closed when the journal has more updates
	for {
		if len(buf) > 0 {
			if _, err := c.stream.Write(buf); err != nil {
				return
			}
		}
		// The queue is drained before the journal is read, and sent after it. A signal in
		// the queue may come from a node whose arrival is in the journal, and has to
		// follow that.
		buf = buf[:0:0]
		frames := c.queue.drain()
		buf, appended = s.appendUpdates(c, buf)
		if len(buf) > 0 {
			sentAt = time.Now()
		}
		for _, f := range frames {
			buf = append(buf, f...)
		}
		if len(buf) > 0 {
			continue
		}
		select {
		case <-appended:
			if !c.coalesce(updateInterval(s.members.size()) - time.Since(sentAt)) {
				return
			}
		case <-c.queue.ready:
		case <-done:
			return
		}
	}
}

// appendUpdates appends the updates that the client does not have yet. The channel that
// it returns is closed when there are more.
func (s *Server) appendUpdates(c *session, buf []byte) ([]byte, <-chan struct{}) {
	for {
		updates, count, appended, ok := c.sentView.journal.after(c.sentSeq)
		switch {
		case !ok: // too far behind, or another view: send the whole list again
			buf = s.members.appendList(buf, c)
		case count == 0:
			return buf, appended
		default:
			c.sentSeq += uint64(count)
			if !c.presences {
				updates = withoutPresence(updates)
			}
			buf = appendBatch(buf, 0, c.sentSeq, updates)
		}
	}
}

// Batches of updates go out at least minUpdateInterval apart, plus
// updateIntervalPerMember for each member. When 1,000 nodes join, the coordinator sends a
// million updates, and a packet takes 20 to 50 us. The target of a newcomer's signal
// still learns about the newcomer at once.
const (
	minUpdateInterval       = 10 * time.Millisecond
	updateIntervalPerMember = 100 * time.Microsecond
)

// updateInterval returns the minimum interval between batches for that many members.
func updateInterval(members int) time.Duration {
	return max(minUpdateInterval, time.Duration(members)*updateIntervalPerMember)
}

// coalesce waits for d, so that more updates go into one batch. It returns early if there
// is another frame to send, and returns false if the connection has ended.
func (c *session) coalesce(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.queue.ready:
	case <-c.conn.Context().Done():
		return false
	}
	return true
}

// welcome completes the welcome and returns its frame.
func (s *Server) welcome(c *session, w *welcome) []byte {
	if c.version >= 4 {
		w.Version, w.Presences, w.DataPath = c.version, true, s.cfg.DataPath
	}
	w.Prefix, w.Prefix6 = s.members.plan.prefix, s.members.plan.prefix6
	w.Lease, w.Started, w.Program = s.cfg.Lease, s.started, s.cfg.Version
	return frame(&message{Welcome: w})
}

// appendPages appends the members as frames of pages.
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
