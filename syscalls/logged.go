package syscalls

import (
	"slices"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// LogRows returns the rows of a traced node where calls can be logged. In the place of a
// row that traps all calls of a number for the trace, there are the rows of the table
// with their conditions, and one that logs the others. names has the names of calls by
// number. Calls that Loggable does not know are trapped, as before. direct says whether
// the rows for direct connections count.
func (a Abilities) LogRows(rows []Entry, names map[uintptr]string,
	direct bool) (logged []Entry) {
	own := slices.DeleteFunc(a.Takes(table),
		func(e Entry) bool { return e.Direct && !direct })
	for _, e := range rows {
		captures, ok := strace.Loggable(names[e.Nr])
		always := slices.ContainsFunc(own,
			func(o Entry) bool { return o.Nr == e.Nr && len(o.When) == 0 })
		if !ok || always || e.Compat || e.do != nil || e.Fail != 0 || len(e.When) > 0 {
			logged = append(logged, e)
			continue
		}
		for _, o := range own {
			if o.Nr == e.Nr {
				logged = append(logged, o)
			}
		}
		logged = append(logged, Entry{Nr: e.Nr, Note: e.Note, Log: &captures})
	}
	return logged
}

// A LoggedCall is a call that the kernel has done.
type LoggedCall struct {
	TID    int
	Nr     uintptr
	Args   [6]uint64
	Result int64 // an errno below 0
	Waits  bool  // the call has not ended
	Start  time.Time
	Took   time.Duration // until it ended, or until now
	Memory []LoggedMemory
}

// LoggedMemory is a piece of the program's memory.
type LoggedMemory struct {
	Addr  uintptr
	Data  []byte
	After bool // as it was after the call
}

// maxErrno is the largest errno that a call returns below 0 (MAX_ERRNO in
// include/linux/err.h).
const maxErrno = 4095

// A loggedWait is a logged call that was reported as waiting.
type loggedWait struct {
	id    uint64
	start time.Time
}

// logged passes a call of the log to the tracer. One goroutine calls it.
func (n *Node) logged(l *LoggedCall) {
	t := n.tracing.Load()
	if t == nil || !t.shows(l.Nr) {
		return
	}
	c := tracedCalls.Get().(*tracedCall)
	c.Call, c.node, c.t, c.waits = nil, n, t, time.Time{}
	r := &c.Record
	r.TID, r.Start, r.Took, r.Late = l.TID, l.Start, l.Took, true
	r.Begin(t.calls.Native(l.Nr), l.Args, t.Bytes)
	for _, m := range l.Memory {
		r.NoteMemory(m.Addr, m.Data, m.After)
	}
	waits, waited := n.loggedWaits[l.TID]
	waited = waited && waits.start.Equal(l.Start)
	delete(n.loggedWaits, l.TID)
	switch {
	case waited:
		r.ID, r.Network = waits.id, l.Took
	default:
		r.ID = callIDs.Add(1)
	}
	switch {
	case l.Waits:
		if n.loggedWaits == nil {
			n.loggedWaits = make(map[int]loggedWait)
		}
		n.loggedWaits[l.TID] = loggedWait{r.ID, l.Start}
		r.Outcome = strace.Waits
	case l.Result < 0 && l.Result >= -maxErrno:
		r.Outcome, r.Value, r.Errno = strace.FailedBy, -1, unix.Errno(-l.Result)
	default:
		r.Outcome, r.Value = strace.Returned, l.Result
	}
	t.Tracer.Called(r)
}

// FlushLog waits until the tracer has all calls that were logged so far.
func (n *Node) FlushLog() {
	if n.Log != nil {
		n.Log.Flush()
	}
}
