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
)

// An Order asks a client for one measurement.
type Order struct {
	Measure string
	Count   int           `json:",omitempty"`
	Size    int           `json:",omitempty"` // bytes
	Streams int           `json:",omitempty"`
	Both    bool          `json:",omitempty"`
	Time    time.Duration `json:",omitempty"` // nanoseconds
}

// A Result is the answer to an Order.
type Result struct {
	// durations of the Count operations, in nanoseconds
	Samples []time.Duration `json:",omitempty"`
	// for Connect: the part of the duration until the connection was established
	Dials []time.Duration `json:",omitempty"`
	// for Churn: connections that received their byte
	Count   int           `json:",omitempty"`
	Bytes   uint64        `json:",omitempty"` // bytes that have arrived
	Elapsed time.Duration `json:",omitempty"` // until they had arrived, in nanoseconds
	Failed  string        `json:",omitempty"`
}
