package trace

import (
	"net/netip"
	"time"
)

// Schema is the version of the format that this package writes. The package reads every
// version with the same major number. The minor number grows with each new field or type,
// and readers skip fields and types that they do not know.
const Schema = "1.0"

// A Header describes the trace. It comes first. It is repeated where a file was rotated,
// and when more is known. In a merged trace the first header has Merged, and a header for
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
	Program  string         // argv[0], without the other arguments, which may hold secrets
	Sets     []string       // the traced sets, as in -e trace=
	Snap     int            // how many bytes of each piece of payload are kept
	ClockOffset,
	ClockError time.Duration // as in Clock; in a merged trace they have been applied
}

// Type is "header".
func (*Header) Type() string { return "header" }

func (e *Header) fields(c *codec) {
	c.text("schema", &e.Schema, "version of this schema, MAJOR.MINOR")
	e.Base.fields(c)
	c.text("boxer", &e.Boxer, "version of boxer")
	c.time("start", &e.Start, "the time of the node's wall clock at `t` 0 (RFC 3339)")
	c.flag("merged", &e.Merged, "the trace was merged from several nodes; one header for each node follows")
	integer(c, "node_id", &e.NodeID, "the node's number in its network")
	c.text("node", &e.Node, "the node's name")
	list(c, "addrs", &e.Addrs, "the node's virtual addresses")
	list(c, "networks", &e.Networks, "the prefixes of the network")
	c.text("program", &e.Program, "argv[0] of the program; the arguments are omitted, because they may contain secrets")
	c.texts("sets", &e.Sets, "the traced sets of calls, as in `-e trace=`")
	integer(c, "snap", &e.Snap, "how many bytes of payload are kept of each segment")
	clockFields(c, &e.ClockOffset, &e.ClockError)
}

// A Clock is the offset of the node's wall clock from the coordinator's. The last one
// counts.
type Clock struct {
	Base
	// ClockOffset has to be added to the node's clock. The error of the result is at most
	// ClockError. A ClockError of 0 means that the offset was not measured.
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

// Dropped says that events are missing here, since the reader was slow or the disk full.
type Dropped struct {
	Base
	Count uint64 // events since the last one that was written
}

// Type is "dropped".
func (*Dropped) Type() string { return "dropped" }

func (e *Dropped) fields(c *codec) {
	e.Base.fields(c)
	integer(c, "count", &e.Count, "how many events are missing here; absent if the number is not known, because a file with them was removed before boxer read it")
}

// End is the last event. A trace without it was cut off.
type End struct {
	Base
	Reason string // such as "the program exited" or "detached"
}

// Type is "end".
func (*End) Type() string { return "end" }

func (e *End) fields(c *codec) {
	e.Base.fields(c)
	c.text("reason", &e.Reason, "why the trace ends")
}
