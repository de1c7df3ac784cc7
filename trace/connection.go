package trace

import (
	"net/netip"
	"strconv"
	"time"
)

// A ConnID identifies a connection. Both of its nodes use the same one. 0 means none.
// Lines contain it as a hexadecimal string, since JavaScript has no 64-bit integers.
type ConnID uint64

// String returns the id as it is written in lines.
func (id ConnID) String() string { return strconv.FormatUint(uint64(id), 16) }

// A ConnState is an event in the life of a connection.
type ConnState string

// The states of a connection. Only the connecting side writes Connecting, and only if the
// answer does not come at once.
const (
	// the connecting side waits for an answer; repeated with Setup and Reason if that
	// takes long
	Connecting ConnState = "connecting"
	Opened     ConnState = "opened"   // established
	Progress   ConnState = "progress" // still open; with the bytes carried so far
	Failed     ConnState = "failed"   // not established
	Closed     ConnState = "closed"   // ended, for any reason
)

// Roles of a connection's sides.
const (
	RoleConnect = "connect" // the side that connected, or sent the first datagram
	RoleAccept  = "accept"
)

// A Connection is an event of a TCP connection, or of the datagrams between two UDP
// endpoints, as one side saw it.
type Connection struct {
	Base
	State ConnState
	ID    ConnID
	Role  string // RoleConnect or RoleAccept
	Proto string // "tcp" or "udp"
	Thread
	Local, Remote netip.AddrPort // as the program sees them
	Peer          string         // the node at the other end
	Path          string         // as in Served
	Stream        int64          // number of the QUIC stream, if there is one
	// time until the connection was established or failed; for RoleAccept: how long the
	// connecting side waited
	Setup    time.Duration
	Duration time.Duration // for Closed: time since it was opened
	Sent,
	Received uint64 // bytes
	SegmentsSent,
	SegmentsReceived uint64 // reads and writes of boxer, or datagrams
	RTT   time.Duration // of the path; 0: unknown
	Errno string        // for Failed, and for Closed after a reset
	// for Closed: the peer ended the connection first, or reset it
	ByPeer bool
	// for Failed and Closed: "refused by db (10.111.0.3:5432)", "reset by peer",
	// "closed"; for others: other information
	Reason string
}

// Type is "connection".
func (*Connection) Type() string { return "connection" }

func (e *Connection) fields(c *codec) {
	e.Base.fields(c)
	c.text("state", (*string)(&e.State), "`connecting`, `opened`, `progress`, `failed` or `closed`")
	c.connID("conn", &e.ID, "id of the connection, the same on both nodes")
	c.text("role", &e.Role, "`connect` or `accept`")
	c.text("proto", &e.Proto, "`tcp` or `udp`")
	e.Thread.fields(c)
	c.addrPort("local", &e.Local, "local address, as the program sees it")
	c.addrPort("remote", &e.Remote, "remote address, as the program sees it")
	c.text("peer", &e.Peer, "the node at the far end")
	c.text("path", &e.Path, "the path of the packets, as in `call`")
	integer(c, "stream", &e.Stream, "the QUIC stream's number")
	integer(c, "setup", &e.Setup, "how long it took to establish, or to fail; of `accept`: how long it was waited for")
	integer(c, "dur", &e.Duration, "of `closed`: time since the connection was opened")
	integer(c, "sent", &e.Sent, "bytes sent until now")
	integer(c, "received", &e.Received, "bytes received until now")
	integer(c, "segments_sent", &e.SegmentsSent, "in how many pieces, or datagrams")
	integer(c, "segments_received", &e.SegmentsReceived,
		"in how many pieces, or datagrams")
	integer(c, "rtt", &e.RTT, "round-trip time of the path")
	c.text("errno", &e.Errno, "name of the error, of `failed` and of `closed` after a reset")
	c.flag("by_peer", &e.ByPeer, "true if the far side closed or reset the connection first")
	c.text("reason", &e.Reason, "of `failed` and `closed`: the cause and where it occurred; of others: further information, such as what `connecting` waits for")
}

// Data is a piece of the payload of a connection.
type Data struct {
	Base
	Conn     ConnID
	Received bool   // received by the recording side; otherwise sent
	Offset   uint64 // bytes of this direction before the piece
	Length   int    // of the piece; Payload may have less
	Payload  []byte // its first bytes, at most Header.Snap
}

// Type is "data".
func (*Data) Type() string { return "data" }

func (e *Data) fields(c *codec) {
	e.Base.fields(c)
	c.connID("conn", &e.Conn, "id of the connection")
	c.flag("received", &e.Received, "true if the recording side received it, absent if it sent it")
	integer(c, "offset", &e.Offset, "how many bytes of this direction came before it")
	integer(c, "len", &e.Length, "how long it was")
	c.bytes("payload", &e.Payload, "the first bytes of the piece, at most `snap`, in base64")
}

// DNS is a lookup through the node's resolver.
type DNS struct {
	Base
	Duration time.Duration // time until the answer
	Thread
	Query   string   // the name
	QType   string   // "A", "AAAA", "PTR", ...
	Answers []string // addresses, names and texts, as in zone files
	// "NOERROR", "NXDOMAIN", "SERVFAIL", ...; "" if there was no answer
	RCode   string
	Server  string         // which server answered: "boxer", or a nameserver's address
	Asked   netip.AddrPort // the nameserver that the program asked
	Failure string         // what failed, and where
}

// Type is "dns".
func (*DNS) Type() string { return "dns" }

func (e *DNS) fields(c *codec) {
	e.Base.fields(c)
	integer(c, "dur", &e.Duration, "time until the answer")
	e.Thread.fields(c)
	c.text("query", &e.Query, "the queried name")
	c.text("qtype", &e.QType, "the queried record type: `A`, `AAAA`, ...")
	c.texts("answers", &e.Answers, "data of the records in the answer")
	c.text("rcode", &e.RCode, "`NOERROR`, `NXDOMAIN`, ...; absent if there was no answer")
	c.text("server", &e.Server, "the server that answered: `boxer` itself, or the address of a name server")
	c.addrPort("asked", &e.Asked, "the name server that the program queried")
	c.text("failure", &e.Failure, "what went wrong, and where")
}
