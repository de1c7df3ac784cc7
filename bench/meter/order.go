package meter

import "time"

// The kinds of measurements.
const (
	// Count times, one after the other: connect, send a byte and receive one
	Connect = "connect"
	// Count times, on one connection: send Size bytes and receive them back
	RoundTrip = "roundtrip"
	// send for Time on Streams connections at a time; with Both, the server sends as well
	Bulk  = "bulk"
	Small = "small" // send Count writes of Size bytes on one connection
	Churn = "churn" // Connect for Time, Streams at once
	// keep Count idle connections; 0 closes them
	Idle        = "idle"
	Getsockname = "getsockname" // Count times getsockname(2) on a connected socket
	// Count times accept4(2) on a non-blocking listener without connections
	Accept = "accept"
	// Count times connect(2) to a listener of the same process, on localhost
	ConnectHere = "connecthere"
	// Count times: send a datagram of Size bytes to To and receive it back
	DatagramTrip = "datagramtrip"
	// send datagrams of Size bytes to To for Time, Rate of them a second; 0: as many as
	// the socket takes
	Datagrams = "datagrams"
	// ask the name server for the address of To for Time, Streams questions at a time
	Questions = "questions"
)

// An Order asks a client for one measurement.
type Order struct {
	Measure string
	Count   int           `json:",omitempty"`
	Size    int           `json:",omitempty"` // bytes
	Streams int           `json:",omitempty"`
	Both    bool          `json:",omitempty"`
	Rate    int           `json:",omitempty"` // datagrams a second
	To      string        `json:",omitempty"` // HOST:PORT, or a name
	Time    time.Duration `json:",omitempty"` // nanoseconds
}

// A Result is the answer to an Order.
type Result struct {
	// durations of the Count operations, in nanoseconds
	Samples []time.Duration `json:",omitempty"`
	// for Connect: the part of the duration until the connection was established
	Dials []time.Duration `json:",omitempty"`
	// for Churn: connections that received their byte; for Datagrams: those that have
	// arrived; for Questions: those that were answered
	Count   int           `json:",omitempty"`
	Sent    int           `json:",omitempty"` // for Datagrams
	Bytes   uint64        `json:",omitempty"` // bytes that have arrived
	Elapsed time.Duration `json:",omitempty"` // until they had arrived, in nanoseconds
	Failed  string        `json:",omitempty"`
}
