package trace

import (
	"math"
	"net/netip"
	"strconv"
	"time"
)

const (
	// maxSegment bounds the payload of one packet, in bytes: with its headers the packet
	// fits the 65,535 bytes of IP.
	maxSegment = 60_000

	// maxPiece bounds the size of a piece, in bytes. Boxer's reads and writes are far
	// smaller.
	maxPiece = 16 << 20

	// maxMissing bounds the packets that stand for bytes that were carried but not
	// recorded, for each direction and event. Bytes beyond that leave a gap in the
	// sequence numbers, which Wireshark reports.
	maxMissing = 16

	// ackEvery is how much one-way data, in bytes, goes between two acknowledgements. It
	// is far below the window of 1 GiB.
	ackEvery = 1 << 28

	// maxOver bounds how many ended connections the writer remembers, so that it does not
	// also write the other node's view of them.
	maxOver = 1 << 16

	// maxOpen bounds how many connections can be open at once. If a trace lost the ends
	// of more than that, the writer forgets some of them.
	maxOpen = 1 << 17

	// firstRetry is how long Linux waits before it retransmits a SYN: 1 s (RFC 6298,
	// section 2). The time then doubles with each retransmission.
	firstRetry = time.Second

	// maxRetries is how many times Linux retransmits a SYN, tcp_syn_retries of tcp(7).
	maxRetries = 6
)

// flows turns the events of connections into packets.
type flows struct {
	w       *pcapWriter
	open    map[ConnID]*flow
	over    map[ConnID]int   // the source whose view of an ended connection was written
	waiting map[ConnID]*flow // flows that wait for an answer to their SYN
	nextSYN time.Duration    // the earliest retransmission among waiting
}

// A flow is a connection as its first source saw it.
type flow struct {
	source    int
	conn      Connection
	near, far flowEnd
	shaken    bool          // the handshake is complete
	begun     time.Duration // time of the first SYN; 0 if the trace does not have it
	synSent   bool
	retryAt   time.Duration
	retries   int
}

// A flowEnd is the state of what one side has sent.
type flowEnd struct {
	addr  netip.AddrPort
	isn   uint32
	sent  uint64 // bytes of payload: the highest offset so far
	acked uint64 // how much of it the other side has acknowledged
}

func (f *flows) init(w *pcapWriter) {
	f.w = w
	f.open, f.waiting, f.over = make(map[ConnID]*flow), make(map[ConnID]*flow),
		make(map[ConnID]int)
	f.nextSYN = math.MaxInt64
}

// flow returns the flow of a connection. It returns nil if the writer shows another
// node's view of the connection.
func (f *flows) flow(e *Connection) *flow {
	fl := f.open[e.ID]
	if fl == nil {
		if _, ended := f.over[e.ID]; ended {
			return nil
		}
		// arbitrary, but the same each time
		isn := uint32(e.ID * 0x9e3779b97f4a7c15 >> 32)
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

// evict removes a flow to make room for another.
func (f *flows) evict() {
	for id := range f.open {
		if len(f.open) < maxOpen {
			return
		}
		delete(f.open, id)
		delete(f.waiting, id)
	}
}

// connection writes the packets for an event of a connection.
func (f *flows) connection(e *Connection) {
	known := f.open[e.ID] != nil
	copied := *e
	if e.Role == RoleAccept && !known && f.w.head.covers(e) {
		return // the connecting side's view is written instead
	}
	fl := f.flow(&copied)
	if fl == nil {
		return
	}
	tcp := e.Proto != "udp"
	// the connection began before the trace
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

// forget removes a flow.
func (f *flows) forget(e *Connection) {
	if len(f.over) >= maxOver {
		clear(f.over)
	}
	f.over[e.ID] = e.Source
	delete(f.open, e.ID)
	delete(f.waiting, e.ID)
}

// still adds a comment to a connection that waits: for how long, and for what.
func (fl *flow) still(now time.Duration) string {
	return words("no answer for", short(now-fl.begun)+",",
		iff(fl.conn.Reason != "", fl.conn.Reason+","), fl.about())
}

// about returns a comment that names the owner of the connection.
func (fl *flow) about() string {
	e := &fl.conn
	who := e.Comm
	if e.PID != 0 {
		who = words(who, "(pid "+strconv.Itoa(e.PID)+", tid "+strconv.Itoa(e.TID)+")")
	}
	return words(who, e.Role, iff(e.Peer != "", "node "+e.Peer), e.Path,
		"conn "+e.ID.String())
}

// segment returns a segment from the near or the far side, with the current sequence
// number of that side's stream.
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

// connects reports whether the recording side is the connecting side.
func (fl *flow) connects() bool { return fl.conn.Role != RoleAccept }

// syn writes a SYN. retransmit then writes more of them, as Linux sends them, until there
// is an answer.
func (f *flows) syn(fl *flow, at time.Duration, comment string) {
	if !fl.synSent {
		fl.synSent, fl.begun, fl.retryAt = true, at, at+firstRetry
		f.waiting[fl.conn.ID] = fl
		f.nextSYN = min(f.nextSYN, fl.retryAt)
	}
	f.w.send(fl.source, at, fl.connects(), fl.segment(fl.connects(), flagSYN), comment)
}

// retransmit writes the SYNs that were due until now.
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

// handshake writes the rest of the handshake when a connection is established.
func (f *flows) handshake(fl *flow, at time.Duration) {
	if fl.shaken {
		return
	}
	fl.shaken = true
	out := fl.connects()
	if !fl.synSent {
		if out {
			f.syn(fl, at-fl.conn.Setup, fl.about())
		} else { // Setup is then how long a program waited in accept
			f.syn(fl, at, fl.about())
		}
	}
	delete(f.waiting, fl.conn.ID)
	f.w.send(fl.source, at, !out, fl.segment(!out, flagSYN|flagACK), "")
	f.w.send(fl.source, at, out, fl.segment(out, flagACK), "")
}

// failed writes the packets that show why a connection was not established.
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
	default: // there was no answer; a last SYN carries the comment
		f.syn(fl, e.Time, comment)
	}
}

// call handles the call that gave up on a connection that was still waiting.
func (f *flows) call(e *Call) {
	fl := f.waiting[e.Conn]
	if fl != nil && e.Phase == Lost && fl.source == e.Source {
		f.syn(fl, e.Time+e.Duration, words(e.Failure+",", fl.about()))
		delete(f.waiting, e.Conn)
	}
}

// end adds a comment to the connections that still wait at the end of the trace.
func (f *flows) end(now time.Duration) {
	for _, fl := range f.waiting {
		f.syn(fl, now, "the trace ended, "+fl.still(now))
	}
}

// data writes a piece of a stream, or a datagram.
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

// end returns the state of the near side, or of the far side.
func (fl *flow) end(outbound bool) *flowEnd {
	if outbound {
		return &fl.near
	}
	return &fl.far
}

// stream writes a piece of a TCP stream in packets of at most maxSegment bytes.
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

// missing writes packets without captured payload for the bytes that were carried until
// now but not recorded.
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

// closed writes the packets that show how a connection ended.
func (f *flows) closed(fl *flow, e *Connection) {
	first := !e.ByPeer
	comment := words(e.Errno, e.Reason+",", fl.about())
	if e.Errno != "" {
		f.w.send(fl.source, e.Time, first, fl.segment(first, flagRST|flagACK), comment)
		return
	}
	f.w.send(fl.source, e.Time, first, fl.segment(first, flagFIN|flagACK), comment)
	fl.end(first).sent++ // FIN takes one sequence number
	f.w.send(fl.source, e.Time, !first, fl.segment(!first, flagFIN|flagACK), "")
	fl.end(!first).sent++
	f.w.send(fl.source, e.Time, first, fl.segment(first, flagACK), "")
}
