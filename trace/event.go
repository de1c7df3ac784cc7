package trace

import "time"

// An Event is one line of a trace: *Header, *Clock, *Call, *Connection, *Data, *DNS,
// *Process, *Dropped or *End.
type Event interface {
	// Type returns the event's type as it is written in lines, such as "call".
	Type() string
	// At returns the fields that every event has.
	At() *Base
	// fields passes each field with its name to c. It is the only place for writing,
	// reading and docs/trace.md.
	fields(c *codec)
}

// Base has the fields that every event has.
type Base struct {
	// Time is when the event happened or began, relative to Start of the trace's first
	// header, by a monotonic clock.
	Time time.Duration
	// Source is 0. In a merged trace it is the header's Source of the node that recorded
	// the event.
	Source int
}

// At returns b itself.
func (b *Base) At() *Base { return b }

func (b *Base) fields(c *codec) {
	integer(c, "t", &b.Time, "when it happened or began, since `start` of the first header")
	integer(c, "src", &b.Source, "in merged traces: the `src` of the header of the node that recorded it")
}

// A Thread is the thread that caused an event.
type Thread struct {
	PID, TID int
	Comm     string // name of the thread: comm in proc(5)
}

func (t *Thread) fields(c *codec) {
	integer(c, "pid", &t.PID, "process")
	integer(c, "tid", &t.TID, "thread")
	c.text("comm", &t.Comm, "name of the thread (comm in proc(5))")
}

// newEvent returns an empty event of a type, or nil if this version does not know the
// type.
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
