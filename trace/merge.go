package trace

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxPairs bounds how many connections Merge compares the nodes' clocks by.
const maxPairs = 1 << 18

// An Input is a trace to be merged. It is read twice: first for what it says about its
// clock.
type Input struct {
	Name string // for errors
	Open func() (io.ReadCloser, error)
}

// Merge gives w the events of several nodes' traces as one, in the order in which they
// ended, and closes w. The clocks are corrected by what each node measured, and then so
// that no connection is accepted before the other side asked for it. Traces of the same
// start and node, such as a rotated file's parts, count as one. Besides w, it needs
// memory for a line of each input and for up to 262,144 connections. Lines that are
// damaged are given to damaged, which may be nil.
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

// surveyed is what the first reading found of one node.
type surveyed struct {
	header Header
	source int // in the result
	// by which connections say that its clock is still late
	shift time.Duration
	// by how much this one has to be later than that one
	limits map[*surveyed]time.Duration
}

// A sighting is when a node had to do with a connection.
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

// node takes a header. In a merged trace all times are by one clock, which begins with
// the first header.
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
	for _, n := range m.nodes { // a rotated file's parts
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

// measure keeps the best of a node's measurements of its clock.
func (n *surveyed) measure(offset, bound time.Duration) {
	if n != nil && bound > 0 && (n.header.ClockError == 0 ||
		bound < n.header.ClockError) {
		n.header.ClockOffset, n.header.ClockError = offset, bound
	}
}

// sight takes down when a connection was asked for, or accepted.
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

// limit keeps how much later than the asking node's clock the accepting one's has to be,
// by this connection. The measured offsets are added when all are known.
func limit(asked, taken sighting) {
	if asked.by == taken.by {
		return
	}
	late := asked.at.Sub(taken.at)
	if known, ok := taken.by.limits[asked.by]; !ok || late > known {
		taken.by.limits[asked.by] = late
	}
}

// align moves clocks forward until no connection is accepted before it was asked for. Of
// clocks that contradict each other, because they drifted, it leaves some.
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

// run merges.
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
	event   Event         // the next one; nil at the end
	ends    time.Duration // when it ended, or the one before it if that was later
}

// next reads a lane's next event and gives it its place in the merged trace. Headers are
// left out: they have been written.
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

// endOf returns when what an event tells had ended.
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

// laneHeap has first the lane whose next event ended first.
type laneHeap []*lane

func (h laneHeap) Len() int      { return len(h) }
func (h laneHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h laneHeap) Less(i, j int) bool {
	if h[i].ends != h[j].ends {
		return h[i].ends < h[j].ends
	}
	return h[i].number < h[j].number
}

// Push is for container/heap; lanes are never added.
func (h *laneHeap) Push(x any) { *h = append(*h, x.(*lane)) }

// Pop is for container/heap.
func (h *laneHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	*h = (*h)[:last]
	return l
}
