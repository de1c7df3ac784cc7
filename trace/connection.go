package trace

import (
	"net/netip"
	"strconv"
	"time"
)

// A ConnID names a connection; both of its nodes use the same. 0 is none. Lines have it
// as a hexadecimal string, since readers in JavaScript have no integers of 64 bits.
type ConnID uint64

// String returns the id as lines have it.
func (id ConnID) String() string { return strconv.FormatUint(uint64(id), 16) }

// A ConnState is what happened to a connection.
type ConnState string

// The states of a connection. Connecting comes from the connecting side alone, and not if
// the answer is there at once.
const (
	// the far side has been asked; again, with Setup and Reason, if it takes long
	Connecting ConnState = "connecting"
	Opened     ConnState = "opened"   // established
	Progress   ConnState = "progress" // still there; so much was carried until now
	Failed     ConnState = "failed"   // it could not be established
	Closed     ConnState = "closed"   // over, in whatever way
)

// Roles of a connection's sides.
const (
	RoleConnect = "connect" // the side that asked for it, or sent the first datagram
	RoleAccept  = "accept"
)

// A Connection is what happened to a TCP connection or to the datagrams between two UDP
// endpoints, as one of its sides saw it.
type Connection struct {
	Base
	State ConnState
	ID    ConnID
	Role  string // RoleConnect or RoleAccept
	Proto string // "tcp" or "udp"
	Thread
	Local, Remote netip.AddrPort // as the program sees them
	Peer          string         // the node at the far end
	Path          string         // as in Served
	Stream        int64          // of the QUIC connection, if there is one
	// how long it took to establish, or to fail; of RoleAccept: how long it was waited
	// for
	Setup    time.Duration
	Duration time.Duration // of Closed: since it was opened
	Sent,
	Received uint64 // bytes
	SegmentsSent,
	SegmentsReceived uint64 // reads and writes of boxer, or datagrams
	RTT   time.Duration // of the path, 0 if not known
	Errno string        // of Failed, and of Closed after a reset
	// of Closed: the far side ended it first; of a reset: it came from there
	ByPeer bool
	// of Failed and Closed: "refused by db (10.111.0.3:5432)", "reset by peer", "closed";
	// of others: what is worth knowing
	Reason string
}

// Type is "connection".
func (*Connection) Type() string { return "connection" }

func (e *Connection) fields(c *codec) {
	e.Base.fields(c)
	c.text("state", (*string)(&e.State), "`connecting`, `opened`, `progress`, `failed` or `closed`")
	c.connID("conn", &e.ID, "its id, which both nodes use")
	c.text("role", &e.Role, "`connect` or `accept`")
	c.text("proto", &e.Proto, "`tcp` or `udp`")
	e.Thread.fields(c)
	c.addrPort("local", &e.Local, "the near end, as the program sees it")
	c.addrPort("remote", &e.Remote, "the far end, as the program sees it")
	c.text("peer", &e.Peer, "the node at the far end")
	c.text("path", &e.Path, "as in calls")
	integer(c, "stream", &e.Stream, "the QUIC stream's number")
	integer(c, "setup", &e.Setup, "how long it took to establish, or to fail; of `accept`: how long it was waited for")
	integer(c, "dur", &e.Duration, "of `closed`: since it was opened")
	integer(c, "sent", &e.Sent, "bytes sent until now")
	integer(c, "received", &e.Received, "bytes received until now")
	integer(c, "segments_sent", &e.SegmentsSent, "in how many pieces, or datagrams")
	integer(c, "segments_received", &e.SegmentsReceived,
		"in how many pieces, or datagrams")
	integer(c, "rtt", &e.RTT, "round-trip time of the path")
	c.text("errno", &e.Errno, "of `failed`, and of `closed` after a reset")
	c.flag("by_peer", &e.ByPeer, "the far side closed or reset it first")
	c.text("reason", &e.Reason, "of `failed` and `closed`: why, and where; of others: what is worth knowing, such as what `connecting` waits for")
}

// Data is a piece of what a connection carried.
type Data struct {
	Base
	Conn     ConnID
	Received bool   // by the side that recorded it; otherwise sent
	Offset   uint64 // bytes of this direction before it
	Length   int    // of the piece; Payload may have less
	Payload  []byte // its first bytes: Header.Snap of them at most
}

// Type is "data".
func (*Data) Type() string { return "data" }

func (e *Data) fields(c *codec) {
	e.Base.fields(c)
	c.connID("conn", &e.Conn, "the connection")
	c.flag("received", &e.Received, "true if the recording side received it, absent if it sent it")
	integer(c, "offset", &e.Offset, "how many bytes of this direction came before it")
	integer(c, "len", &e.Length, "how long it was")
	c.bytes("payload", &e.Payload, "its first bytes, at most `snap`, in base64")
}

// DNS is a name that the node's resolver was asked for.
type DNS struct {
	Base
	Duration time.Duration // until it was answered
	Thread
	Query   string   // the name
	QType   string   // "A", "AAAA", "PTR", ...
	Answers []string // addresses, names and texts, as zone files have them
	// "NOERROR", "NXDOMAIN", "SERVFAIL", ...; "" if nothing was answered
	RCode   string
	Server  string         // who answered: "boxer", or the forwarder's address
	Asked   netip.AddrPort // the name server that the program has asked
	Failure string         // what went wrong, and where
}

// Type is "dns".
func (*DNS) Type() string { return "dns" }

func (e *DNS) fields(c *codec) {
	e.Base.fields(c)
	integer(c, "dur", &e.Duration, "until it was answered")
	e.Thread.fields(c)
	c.text("query", &e.Query, "the name that was asked for")
	c.text("qtype", &e.QType, "the type of record: `A`, `AAAA`, ...")
	c.texts("answers", &e.Answers, "the records' data")
	c.text("rcode", &e.RCode, "`NOERROR`, `NXDOMAIN`, ...; absent if there was no answer")
	c.text("server", &e.Server, "who answered: `boxer` itself, or a name server's address")
	c.addrPort("asked", &e.Asked, "the name server that the program has asked")
	c.text("failure", &e.Failure, "what went wrong, and where")
}
