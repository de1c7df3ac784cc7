package meter

import "time"

// What an Order may ask for.
const (
	// connect, send a byte, get one: Count times, one after the other
	Connect = "connect"
	// send Size bytes and get them back: Count times, on one connection
	RoundTrip = "roundtrip"
	// send for Time on Streams connections at once; with Both the server sends as well
	Bulk  = "bulk"
	Small = "small" // send Count writes of Size bytes on one connection
	Churn = "churn" // Connect for Time, Streams at once
	// have Count connections on which nothing happens; 0 closes them
	Idle        = "idle"
	Getsockname = "getsockname" // getsockname(2) on a connected socket: Count times
	// accept4(2) on a non-blocking listener to which nobody connects: Count times
	Accept = "accept"
	// connect(2) to a listener of the same process, on localhost: Count times
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
	// of whatever was done Count times, in nanoseconds
	Samples []time.Duration `json:",omitempty"`
	// of Connect: the part of it until there was a connection
	Dials []time.Duration `json:",omitempty"`
	// of Churn: connections that got their byte
	Count   int           `json:",omitempty"`
	Bytes   uint64        `json:",omitempty"` // that have arrived
	Elapsed time.Duration `json:",omitempty"` // until they had, in nanoseconds
	Failed  string        `json:",omitempty"`
}
