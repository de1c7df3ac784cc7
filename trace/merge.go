package trace

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxPairs limits the connections by which Merge compares the nodes' clocks.
const maxPairs = 1 << 18

// An Input is a trace to merge. Merge reads it twice, first for what it says about
// clocks.
type Input struct {
	Name string // for errors
	Open func() (io.ReadCloser, error)
}

// Merge passes the events of several nodes' traces to w as one trace, in the order in
// which they ended, and closes w. It corrects the clocks by what each node has measured.
// It then moves clocks so that no connection is accepted before the other side asked for
// it. Traces of the same node and start, such as parts of a rotated file, count as one.
// Besides w, it needs memory for one line of each input and for up to 262,144
// connections. It passes damaged lines to damaged, which may be nil.
func Merge(w Writer, inputs []Input, damaged func(name string, err *LineError)) error {
	if damaged == nil {
		damaged = func(string, *LineError) {}
	}
	m := merger{w: w}
	for _, in := range inputs {
		if err := m.survey(in); err != nil {
			return fmt.Errorf("merge %s: %w", in.Name, err)
		}
	}
	m.align()
	defer m.close()
	for i, in := range inputs {
		f, err := in.Open()
		if err != nil {
			return fmt.Errorf("merge: %w", err)
		}
		m.lanes = append(m.lanes, &lane{name: in.Name, file: f, r: NewReader(f),
			number: i, damaged: damaged})
	}
	return m.run()
}

// A merger merges traces.
type merger struct {
	w       Writer
	nodes   []*surveyed
	byInput []map[int]*surveyed // by input, and by source in the input
	asked   map[ConnID]sighting
	taken   map[ConnID]sighting
	start   time.Time
	lanes   []*lane
}

// A surveyed is what the first reading found out about one node.
type surveyed struct {
	header Header
	source int // in the merged trace
	// how far connections show that its clock is still late
	shift time.Duration
	// by node: how far this node's clock has to be ahead of that one
	limits map[*surveyed]time.Duration
}

// A sighting is the time at which a node asked for or accepted a connection.
type sighting struct {
	by *surveyed
	at time.Time
}

// begins returns Time 0 of the node's trace by the coordinator's clock.
func (n *surveyed) begins() time.Time { return n.header.Start.Add(n.header.ClockOffset + n.shift) }

// survey reads one input for the first time.
func (m *merger) survey(in Input) error {
	f, err := in.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	sources := make(map[int]*surveyed)
	m.byInput = append(m.byInput, sources)
	var first *Header
	for r := NewReader(f); ; {
		e, err := r.Next()
		var at *LineError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &at) && at.passing():
			continue
		case err != nil:
			return err
		}
		switch e := e.(type) {
		case *Header:
			if first == nil {
				first = e
			}
			m.node(sources, e, first)
		case *Clock:
			sources[e.Source].measure(e.ClockOffset, e.ClockError)
		case *Connection:
			m.sight(sources[e.Source], e)
		}
	}
}

// node takes a header. All times of a merged trace are by one clock, which begins with
// its first header.
func (m *merger) node(sources map[int]*surveyed, e, first *Header) {
	if e.Merged || len(sources) >= maxSources {
		return
	}
	if known := sources[e.Source]; known != nil {
		known.measure(e.ClockOffset, e.ClockError)
		return
	}
	header := *e
	if first.Merged {
		header.Start, header.ClockOffset = first.Start, 0
	}
	for _, n := range m.nodes { // a part of a rotated file
		if n.header.Node == e.Node && n.header.NodeID == e.NodeID &&
			n.header.Start.Equal(header.Start) && !first.Merged {
			sources[e.Source] = n
			n.measure(e.ClockOffset, e.ClockError)
			return
		}
	}
	n := &surveyed{header: header, source: len(m.nodes) + 1,
		limits: make(map[*surveyed]time.Duration)}
	m.nodes = append(m.nodes, n)
	sources[e.Source] = n
}

// measure keeps the most precise measurement of a node's clock.
func (n *surveyed) measure(offset, bound time.Duration) {
	if n != nil && bound > 0 && (n.header.ClockError == 0 ||
		bound < n.header.ClockError) {
		n.header.ClockOffset, n.header.ClockError = offset, bound
	}
}

// sight records when a connection was asked for or accepted.
func (m *merger) sight(n *surveyed, e *Connection) {
	if n == nil || e.State != Opened || e.ID == 0 {
		return
	}
	asks := e.Role != RoleAccept
	if m.asked == nil {
		m.asked, m.taken = make(map[ConnID]sighting), make(map[ConnID]sighting)
	}
	mine, theirs := m.taken, m.asked
	if asks {
		mine, theirs = theirs, mine
	}
	s := sighting{n, n.header.Start.Add(e.Time)}
	if asks {
		s.at = s.at.Add(-e.Setup)
	}
	other, ok := theirs[e.ID]
	switch {
	case ok && asks:
		limit(s, other)
		delete(theirs, e.ID)
	case ok:
		limit(other, s)
		delete(theirs, e.ID)
	case len(mine) < maxPairs:
		mine[e.ID] = s
	}
}

// limit records how far the accepting node's clock has to be ahead of the asking node's
// because of this connection. The measured offsets are added when all are known.
func limit(asked, taken sighting) {
	if asked.by == taken.by {
		return
	}
	late := asked.at.Sub(taken.at)
	if known, ok := taken.by.limits[asked.by]; !ok || late > known {
		taken.by.limits[asked.by] = late
	}
}

// align moves clocks forward until no connection is accepted before it was asked for. If
// clocks contradict each other because they drifted, it leaves some of them.
func (m *merger) align() {
	for range m.nodes {
		for _, n := range m.nodes {
			for asked, late := range n.limits {
				late += asked.header.ClockOffset + asked.shift - n.header.ClockOffset
				n.shift = max(n.shift, late)
			}
		}
	}
	for i, n := range m.nodes {
		if b := n.begins(); i == 0 || b.Before(m.start) {
			m.start = b
		}
	}
}

// run merges the inputs.
func (m *merger) run() error {
	if err := m.w.Write(&Header{Merged: true, Start: m.start}); err != nil {
		return err
	}
	for _, n := range m.nodes {
		h := n.header
		h.Source, h.Time, h.ClockOffset = n.source, n.begins().Sub(m.start),
			h.ClockOffset+n.shift
		if err := m.w.Write(&h); err != nil {
			return err
		}
	}
	var queue laneHeap
	for _, l := range m.lanes {
		if err := m.next(l); err != nil {
			return err
		}
		if l.event != nil {
			queue = append(queue, l)
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		l := queue[0]
		if err := m.w.Write(l.event); err != nil {
			return err
		}
		if err := m.next(l); err != nil {
			return err
		}
		if l.event == nil {
			heap.Pop(&queue)
		} else {
			heap.Fix(&queue, 0)
		}
	}
	return m.w.Close()
}

// A lane is an input in its second reading.
type lane struct {
	name    string
	file    io.Closer
	r       *Reader
	number  int
	damaged func(string, *LineError)
	event   Event         // the next event; nil at the end
	ends    time.Duration // when the event ended, or the latest end before it
}

// next reads the next event of a lane and sets its place in the merged trace. It omits
// headers, which have been written.
func (m *merger) next(l *lane) error {
	for {
		e, err := l.r.Next()
		var at *LineError
		switch {
		case errors.Is(err, io.EOF):
			l.event = nil
			return nil
		case errors.As(err, &at) && at.passing():
			l.damaged(l.name, at)
			continue
		case err != nil:
			return fmt.Errorf("merge %s: %w", l.name, err)
		}
		n := m.byInput[l.number][e.At().Source]
		if e.Type() == "header" || e.Type() == "clock" || n == nil {
			continue
		}
		base := e.At()
		base.Time += n.begins().Sub(m.start)
		base.Source = n.source
		l.event, l.ends = e, max(l.ends, endOf(e))
		return nil
	}
}

// endOf returns when the event ended.
func endOf(e Event) time.Duration {
	switch e := e.(type) {
	case *Call:
		return e.Time + e.Duration
	case *DNS:
		return e.Time + e.Duration
	}
	return e.At().Time
}

func (m *merger) close() {
	for _, l := range m.lanes {
		l.file.Close()
	}
}

// A laneHeap has the lane whose next event ended first as its first element.
type laneHeap []*lane

func (h laneHeap) Len() int      { return len(h) }
func (h laneHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h laneHeap) Less(i, j int) bool {
	if h[i].ends != h[j].ends {
		return h[i].ends < h[j].ends
	}
	return h[i].number < h[j].number
}

// Push implements heap.Interface. No lanes are added.
func (h *laneHeap) Push(x any) { *h = append(*h, x.(*lane)) }

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	*h = (*h)[:last]
	return l
}
