package trace

import (
	"net/netip"
	"time"
)

// Schema is the version of what this package writes. It reads every version with the same
// number before the dot: the other number grows with each field or type that is added,
// and readers skip what they do not know.
const Schema = "1.0"

// A Header says what the trace is of. It comes first; it comes again where a file was
// rotated, and when more is known. In a merged trace the first has Merged, and one for
// each node follows.
type Header struct {
	Base
	Schema   string    // set by the writer
	Boxer    string    // boxer's version
	Start    time.Time // the recording node's wall clock at Time 0
	Merged   bool      // several nodes' traces; then Node and what follows are empty
	NodeID   uint64
	Node     string         // the node's name
	Addrs    []netip.Addr   // the node's virtual addresses
	Networks []netip.Prefix // the prefixes of the network
	Program  string         // argv[0]; not the other arguments, which may hold secrets
	Sets     []string       // what is traced, as -e trace= has it
	Snap     int            // how many bytes of payload are kept of each segment
	ClockOffset,
	ClockError time.Duration // as in Clock; in a merged trace they have been applied
}

// Type is "header".
func (*Header) Type() string { return "header" }

func (e *Header) fields(c *codec) {
	c.text("schema", &e.Schema, "version of this schema, MAJOR.MINOR")
	e.Base.fields(c)
	c.text("boxer", &e.Boxer, "version of boxer")
	c.time("start", &e.Start, "the node's wall clock at `t` 0 (RFC 3339)")
	c.flag("merged", &e.Merged, "the trace is of several nodes: one header for each follows")
	integer(c, "node_id", &e.NodeID, "the node's number in its network")
	c.text("node", &e.Node, "the node's name")
	list(c, "addrs", &e.Addrs, "the node's virtual addresses")
	list(c, "networks", &e.Networks, "the prefixes of the network")
	c.text("program", &e.Program, "argv[0] of the program; its arguments are left out, as they may hold secrets")
	c.texts("sets", &e.Sets, "what is traced, as in `-e trace=`")
	integer(c, "snap", &e.Snap, "how many bytes of payload are kept of each segment")
	clockFields(c, &e.ClockOffset, &e.ClockError)
}

// A Clock says how the node's wall clock and that of the network's coordinator differ.
// The last one counts.
type Clock struct {
	Base
	// ClockOffset is to be added to the node's clock; the true one is within ClockError
	// of it. A ClockError of 0 means that it was not measured.
	ClockOffset, ClockError time.Duration
}

// Type is "clock".
func (*Clock) Type() string { return "clock" }

func (e *Clock) fields(c *codec) {
	e.Base.fields(c)
	clockFields(c, &e.ClockOffset, &e.ClockError)
}

func clockFields(c *codec, offset, bound *time.Duration) {
	integer(c, "clock_offset", offset, "what to add to the node's clock to get the coordinator's")
	integer(c, "clock_error", bound, "the offset is true within this; 0: not measured")
}

// Dropped says that events are missing here: the reader was slow or the disk full.
type Dropped struct {
	Base
	Count uint64 // events since the last one that was written
}

// Type is "dropped".
func (*Dropped) Type() string { return "dropped" }

func (e *Dropped) fields(c *codec) {
	e.Base.fields(c)
	integer(c, "count", &e.Count, "how many events are missing here; absent if nobody knows: a file of theirs was removed before it was read")
}

// End is the last event. Without it, the trace was cut off.
type End struct {
	Base
	Reason string // such as "the program exited" or "detached"
}

// Type is "end".
func (*End) Type() string { return "end" }

func (e *End) fields(c *codec) {
	e.Base.fields(c)
	c.text("reason", &e.Reason, "why it ends")
}
