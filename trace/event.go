package trace

import "time"

// An Event is one line of a trace: *Header, *Clock, *Call, *Connection, *Data, *DNS,
// *Process, *Dropped or *End.
type Event interface {
	// Type is the event's type as the line has it, such as "call".
	Type() string
	// At returns what every event has.
	At() *Base
	// fields shows c each field with its name: the one place for writing, reading and
	// docs/trace.md.
	fields(c *codec)
}

// Base is what every event has.
type Base struct {
	// Time is when it happened, or began: since Start of the trace's first header, by a
	// clock that does not jump.
	Time time.Duration
	// Source is 0, or in a merged trace the header's Source of the node that recorded the
	// event.
	Source int
}

// At returns b itself.
func (b *Base) At() *Base { return b }

func (b *Base) fields(c *codec) {
	integer(c, "t", &b.Time, "when it happened or began, since `start` of the first header")
	integer(c, "src", &b.Source, "in merged traces: the `src` of the header of the node that recorded it")
}

// A Thread is who did something.
type Thread struct {
	PID, TID int
	Comm     string // the thread's name, comm of proc(5)
}

func (t *Thread) fields(c *codec) {
	integer(c, "pid", &t.PID, "process")
	integer(c, "tid", &t.TID, "thread")
	c.text("comm", &t.Comm, "the thread's name, as proc(5) has it in comm")
}

// newEvent returns an empty event of a type, nil if this version does not know it.
func newEvent(kind []byte) Event {
	switch string(kind) {
	case "call":
		return &Call{FD: NoFD}
	case "connection":
		return &Connection{}
	case "data":
		return &Data{}
	case "dns":
		return &DNS{}
	case "process":
		return &Process{}
	case "dropped":
		return &Dropped{}
	case "clock":
		return &Clock{}
	case "end":
		return &End{}
	case "header":
		return &Header{}
	}
	return nil
}
