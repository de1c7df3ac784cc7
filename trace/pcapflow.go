package trace

import (
	"math"
	"net/netip"
	"strconv"
	"time"
)

const (
	// maxSegment is how much of a piece goes into one packet: with its headers it fits
	// IP's 65,535.
	maxSegment = 60_000

	// maxPiece bounds the pieces that are shown, in bytes: boxer's reads and writes are
	// far smaller.
	maxPiece = 16 << 20

	// maxMissing bounds the packets that stand for what was carried and not recorded, for
	// each direction and event. What is beyond is a gap in the sequence numbers, which
	// Wireshark tells.
	maxMissing = 16

	// ackEvery is after how much one-way data an acknowledgement is shown, far below the
	// window of 1 GiB.
	ackEvery = 1 << 28

	// maxOver bounds how many ended connections are kept in mind, so that the other
	// node's view of them is not shown too.
	maxOver = 1 << 16

	// maxOpen bounds how many connections can be open at once. Of a trace that lost the
	// ends of more, some are forgotten.
	maxOpen = 1 << 17

	// firstRetry is when Linux sends a SYN again: after 1 s (RFC 6298, section 2), then
	// twice as long each time.
	firstRetry = time.Second

	// maxRetries is how often it does, tcp_syn_retries of tcp(7).
	maxRetries = 6
)

// flows makes packets of connections' events.
type flows struct {
	w       *pcapWriter
	open    map[ConnID]*flow
	over    map[ConnID]int   // which source showed a connection that has ended
	waiting map[ConnID]*flow // for an answer to SYN
	nextSYN time.Duration    // the earliest of theirs
}

// A flow is a connection that is shown as its first source saw it.
type flow struct {
	source    int
	conn      Connection
	near, far flowEnd
	shaken    bool          // hands, that is
	begun     time.Duration // first SYN; 0 if it was not seen
	synSent   bool
	retryAt   time.Duration
	retries   int
}

// A flowEnd is what one side has sent.
type flowEnd struct {
	addr  netip.AddrPort
	isn   uint32
	sent  uint64 // bytes of payload, the highest offset so far
	acked uint64 // how much of it the other side was shown to have
}

func (f *flows) init(w *pcapWriter) {
	f.w = w
	f.open, f.waiting, f.over = make(map[ConnID]*flow), make(map[ConnID]*flow),
		make(map[ConnID]int)
	f.nextSYN = math.MaxInt64
}

// flow returns the flow of a connection, nil if another node's view of it is shown.
func (f *flows) flow(e *Connection) *flow {
	fl := f.open[e.ID]
	if fl == nil {
		if _, ended := f.over[e.ID]; ended {
			return nil
		}
		isn := uint32(e.ID * 0x9e3779b97f4a7c15 >> 32) // any, but the same each time
		f.evict()
		fl = &flow{source: e.Source, near: flowEnd{isn: isn}, far: flowEnd{isn: ^isn}}
		f.open[e.ID] = fl
	}
	if fl.source != e.Source {
		return nil
	}
	if fl.conn.Comm != "" && e.Comm == "" {
		e.Thread = fl.conn.Thread
	}
	fl.conn = *e
	fl.near.addr, fl.far.addr = e.Local, e.Remote
	return fl
}

// evict makes room for another flow.
func (f *flows) evict() {
	for id := range f.open {
		if len(f.open) < maxOpen {
			return
		}
		delete(f.open, id)
		delete(f.waiting, id)
	}
}

// connection shows what happened to one.
func (f *flows) connection(e *Connection) {
	known := f.open[e.ID] != nil
	copied := *e
	if e.Role == RoleAccept && !known && f.w.head.covers(e) {
		return // it is shown as the connecting side saw it
	}
	fl := f.flow(&copied)
	if fl == nil {
		return
	}
	tcp := e.Proto != "udp"
	// the trace began later than the connection
	if !known && (e.State == Progress || e.State == Closed) {
		fl.shaken, fl.near.sent, fl.far.sent = true, e.Sent, e.Received
	}
	switch e.State {
	case Connecting:
		if tcp && !fl.synSent {
			f.syn(fl, e.Time-e.Setup, fl.about())
		}
	case Opened:
		if tcp {
			f.handshake(fl, e.Time)
		}
	case Progress:
		f.missing(fl, e)
	case Failed:
		f.failed(fl, e)
		f.forget(e)
	case Closed:
		f.missing(fl, e)
		if tcp {
			f.closed(fl, e)
		} else if e.Errno == "ECONNREFUSED" {
			f.w.send(fl.source, e.Time, false, fl.segment(true, 0).unreachable(true),
				e.Reason)
		}
		f.forget(e)
	}
}

// forget ends a flow.
func (f *flows) forget(e *Connection) {
	if len(f.over) >= maxOver {
		clear(f.over)
	}
	f.over[e.ID] = e.Source
	delete(f.open, e.ID)
	delete(f.waiting, e.ID)
}

// still says of a connection that waits how long it does, and for what.
func (fl *flow) still(now time.Duration) string {
	return words("no answer for", short(now-fl.begun)+",",
		iff(fl.conn.Reason != "", fl.conn.Reason+","), fl.about())
}

// about says who has the connection.
func (fl *flow) about() string {
	e := &fl.conn
	who := e.Comm
	if e.PID != 0 {
		who = words(who, "(pid "+strconv.Itoa(e.PID)+", tid "+strconv.Itoa(e.TID)+")")
	}
	return words(who, e.Role, iff(e.Peer != "", "node "+e.Peer), e.Path,
		"conn "+e.ID.String())
}

// segment returns a segment from the near side or the far one, at the place that its
// stream has reached.
func (fl *flow) segment(outbound bool, flags byte) *segment {
	from, to := &fl.near, &fl.far
	if !outbound {
		from, to = to, from
	}
	s := &segment{from: from.addr, to: to.addr, proto: protoTCP, flags: flags,
		seq: from.isn + 1 + uint32(from.sent)}
	if fl.conn.Proto == "udp" {
		s.proto = protoUDP
	}
	if flags&flagACK != 0 {
		s.ack = to.isn + 1 + uint32(to.sent)
		to.acked = to.sent
	}
	if flags&flagSYN != 0 {
		s.seq = from.isn
	}
	return s
}

// connects reports whether the recording side is the one that connects.
func (fl *flow) connects() bool { return fl.conn.Role != RoleAccept }

// syn shows a SYN, and others after it as Linux sends them, until there is an answer.
func (f *flows) syn(fl *flow, at time.Duration, comment string) {
	if !fl.synSent {
		fl.synSent, fl.begun, fl.retryAt = true, at, at+firstRetry
		f.waiting[fl.conn.ID] = fl
		f.nextSYN = min(f.nextSYN, fl.retryAt)
	}
	f.w.send(fl.source, at, fl.connects(), fl.segment(fl.connects(), flagSYN), comment)
}

// retransmit shows the SYNs that were due until now.
func (f *flows) retransmit(now time.Duration) {
	if now < f.nextSYN {
		return
	}
	f.nextSYN = math.MaxInt64
	for _, fl := range f.waiting {
		for ; fl.retryAt <= now && fl.retries < maxRetries; fl.retryAt += firstRetry << fl.retries {
			f.syn(fl, fl.retryAt, fl.still(fl.retryAt))
			fl.retries++
		}
		if fl.retries < maxRetries {
			f.nextSYN = min(f.nextSYN, fl.retryAt)
		}
	}
}

// handshake shows what is left of it when a connection is established.
func (f *flows) handshake(fl *flow, at time.Duration) {
	if fl.shaken {
		return
	}
	fl.shaken = true
	out := fl.connects()
	if !fl.synSent {
		if out {
			f.syn(fl, at-fl.conn.Setup, fl.about())
		} else { // whose Setup is how long a program waited for it
			f.syn(fl, at, fl.about())
		}
	}
	delete(f.waiting, fl.conn.ID)
	f.w.send(fl.source, at, !out, fl.segment(!out, flagSYN|flagACK), "")
	f.w.send(fl.source, at, out, fl.segment(out, flagACK), "")
}

// failed shows why a connection was not established.
func (f *flows) failed(fl *flow, e *Connection) {
	if e.Proto == "udp" {
		f.w.send(fl.source, e.Time, false,
			fl.segment(true, 0).unreachable(e.Errno == "ECONNREFUSED"),
			words(e.Errno, e.Reason))
		return
	}
	if !fl.synSent {
		f.syn(fl, e.Time-e.Setup, fl.about())
	}
	f.retransmit(e.Time - 1)
	out, comment := fl.connects(), words(e.Errno, e.Reason+",", "after",
		short(e.Time-fl.begun)+",", fl.about())
	switch e.Errno {
	case "ECONNREFUSED", "ECONNRESET":
		s := fl.segment(!out, flagRST|flagACK)
		s.seq = 0
		f.w.send(fl.source, e.Time, !out, s, comment)
	case "EHOSTUNREACH", "ENETUNREACH":
		f.w.send(fl.source, e.Time, !out, fl.segment(out, flagSYN).unreachable(false), comment)
	default: // nobody says anything; a last SYN carries the comment
		f.syn(fl, e.Time, comment)
	}
}

// call has the call that gave up on a connection, while that waits.
func (f *flows) call(e *Call) {
	fl := f.waiting[e.Conn]
	if fl != nil && e.Phase == Lost && fl.source == e.Source {
		f.syn(fl, e.Time+e.Duration, words(e.Failure+",", fl.about()))
		delete(f.waiting, e.Conn)
	}
}

// end says of the connections that still wait that they do.
func (f *flows) end(now time.Duration) {
	for _, fl := range f.waiting {
		f.syn(fl, now, "the trace ended, "+fl.still(now))
	}
}

// data shows a piece of a stream, or a datagram.
func (f *flows) data(e *Data) {
	fl := f.open[e.Conn]
	if fl == nil || fl.source != e.Source || e.Length < len(e.Payload) ||
		e.Length > maxPiece {
		return
	}
	comment := words(fl.conn.Comm, iff(fl.conn.PID != 0,
		"(pid "+strconv.Itoa(fl.conn.PID)+")"), "sent")
	if e.Received {
		comment = words(fl.conn.Comm, iff(fl.conn.PID != 0,
			"(pid "+strconv.Itoa(fl.conn.PID)+")"), "received")
	}
	if fl.conn.Proto == "udp" {
		s := fl.segment(!e.Received, 0)
		s.payload, s.length = e.Payload, e.Length
		f.w.send(fl.source, e.Time, !e.Received, s, comment)
		fl.end(!e.Received).sent += uint64(e.Length)
		return
	}
	if !fl.shaken {
		f.handshake(fl, e.Time)
	}
	f.stream(fl, e.Time, !e.Received, e.Offset, e.Length, e.Payload, comment)
}

// end returns what the near side sent, or the far one.
func (fl *flow) end(outbound bool) *flowEnd {
	if outbound {
		return &fl.near
	}
	return &fl.far
}

// stream shows a piece of a TCP stream in packets that are not too large.
func (f *flows) stream(fl *flow, at time.Duration, outbound bool, offset uint64,
	length int, payload []byte, comment string) {
	end := fl.end(outbound)
	for length > 0 {
		n := min(length, maxSegment)
		s := fl.segment(outbound, flagACK)
		s.seq = end.isn + 1 + uint32(offset)
		s.length, s.payload = n, payload[:min(n, len(payload))]
		if n == length {
			s.flags |= flagPSH
		}
		f.w.send(fl.source, at, outbound, s, comment)
		payload = payload[len(s.payload):]
		length -= n
		offset += uint64(n)
		end.sent = max(end.sent, offset)
		if end.sent-end.acked > ackEvery {
			f.w.send(fl.source, at, !outbound, fl.segment(!outbound, flagACK), "")
		}
	}
}

// missing shows what was carried until now and not recorded: packets whose payload was
// not captured.
func (f *flows) missing(fl *flow, e *Connection) {
	if fl.conn.Proto == "udp" {
		return
	}
	if !fl.shaken {
		f.handshake(fl, e.Time-e.Duration)
	}
	for _, outbound := range []bool{true, false} {
		total := e.Received
		if outbound {
			total = e.Sent
		}
		for range maxMissing {
			end := fl.end(outbound)
			if total <= end.sent {
				break
			}
			f.stream(fl, e.Time, outbound, end.sent, int(min(total-end.sent, maxSegment)),
				nil, "not recorded")
		}
		end := fl.end(outbound)
		end.sent = max(end.sent, total)
	}
}

// closed shows how a connection ended.
func (f *flows) closed(fl *flow, e *Connection) {
	first := !e.ByPeer
	comment := words(e.Errno, e.Reason+",", fl.about())
	if e.Errno != "" {
		f.w.send(fl.source, e.Time, first, fl.segment(first, flagRST|flagACK), comment)
		return
	}
	f.w.send(fl.source, e.Time, first, fl.segment(first, flagFIN|flagACK), comment)
	fl.end(first).sent++ // FIN takes a number
	f.w.send(fl.source, e.Time, !first, fl.segment(!first, flagFIN|flagACK), "")
	fl.end(!first).sent++
	f.w.send(fl.source, e.Time, first, fl.segment(first, flagACK), "")
}
