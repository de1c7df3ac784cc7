package trace

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Limits of a summary's tables. Further entries are counted together, as "others".
const (
	maxCallNames = 1 << 10
	maxPeers     = 1 << 12
	maxAsked     = 1 << 12 // names that were looked up
	maxFailures  = 1 << 8
	others       = "others"
)

// A summary aggregates a trace. Its memory does not grow with the trace.
type summary struct {
	slowest int // the number of slow connects that it keeps

	calls   map[string]*callTotal
	peers   map[peerKey]*peerTotal
	names   map[string]*nameTotal
	failed  map[failure]*failureTotal
	slow    []Connection // slowest first
	waiting map[ConnID]Connection
	missing uint64
	head    heads
	now     time.Duration
}

type callTotal struct {
	name   string
	errors uint64
	took   durations
	seen   uint64 // without a result: watched
}

// A peerKey is a peer as one node sees it.
type peerKey struct {
	source int
	peer   string
}

type peerTotal struct {
	key                                       peerKey
	path                                      string // the last path
	connects, accepts, refused, failed, reset uint64
	sent, received                            uint64
	rtt                                       durations
}

type nameTotal struct {
	name   string
	failed uint64
	took   durations
}

// A failure is an error of a program, and where it occurred.
type failure struct{ comm, errno, text string }

type failureTotal struct {
	what  failure
	first time.Duration
	n     uint64
}

func newSummary(slowest int) *summary {
	if slowest <= 0 {
		slowest = 10
	}
	return &summary{slowest: slowest, calls: make(map[string]*callTotal),
		peers: make(map[peerKey]*peerTotal), names: make(map[string]*nameTotal),
		failed:  make(map[failure]*failureTotal),
		waiting: make(map[ConnID]Connection)}
}

// entry returns the entry for key. If there are too many entries, it returns the one for
// rest.
func entry[K comparable, V any](m map[K]*V, key, rest K, bound int) (*V, K) {
	if m[key] == nil && len(m) >= bound {
		key = rest
	}
	if m[key] == nil {
		m[key] = new(V)
	}
	return m[key], key
}

// add adds an event.
func (s *summary) add(e Event) {
	s.now = max(s.now, endOf(e))
	switch e := e.(type) {
	case *Header:
		s.head.add(e)
	case *Call:
		s.addCall(e)
	case *Connection:
		s.addConnection(e)
	case *DNS:
		total, name := entry(s.names, e.Query, others, maxAsked)
		total.name = name
		total.took.add(e.Duration)
		if e.Failure != "" || e.RCode != "NOERROR" {
			total.failed++
			s.fail(&e.Base, failure{e.Comm, e.RCode,
				words(e.QType, e.Query+iff(e.Failure != "", ":"), e.Failure)})
		}
	case *Dropped:
		s.missing += e.Count
	}
}

func (s *summary) addCall(e *Call) {
	if e.Phase == Enter {
		return
	}
	total, name := entry(s.calls, e.Name, others, maxCallNames)
	total.name = name
	if e.Phase == Watched {
		total.seen++
		return
	}
	total.took.add(e.Duration)
	if e.Errno != "" || e.Phase == Lost {
		total.errors++
	}
	if c, waits := s.waiting[e.Conn]; waits && e.Phase == Lost && c.Source == e.Source {
		c.Base, c.State, c.Setup, c.Reason = e.Base, Failed, e.Duration, e.Failure
		s.addConnection(&c)
	}
}

// fail counts a failure.
func (s *summary) fail(at *Base, what failure) {
	total, what := entry(s.failed, what, failure{text: others}, maxFailures)
	if total.n == 0 {
		total.what, total.first = what, at.Time
	}
	total.n++
}

func (s *summary) addConnection(e *Connection) {
	peer := e.Peer
	if peer == "" {
		peer = e.Remote.Addr().String()
	}
	total, key := entry(s.peers, peerKey{e.Source, peer}, peerKey{e.Source, others},
		maxPeers)
	total.key = key
	total.path = cmp.Or(e.Path, total.path)
	if e.RTT > 0 {
		total.rtt.add(e.RTT)
	}
	switch e.State {
	case Connecting:
		if _, again := s.waiting[e.ID]; again || len(s.waiting) < maxPairs {
			kept := *e
			kept.Time -= e.Setup // when the wait began
			s.waiting[e.ID] = kept
		}
	case Opened:
		delete(s.waiting, e.ID)
		if e.Role == RoleAccept {
			total.accepts++
			return
		}
		total.connects++
		if e.Proto != "udp" { // UDP does not wait for a connection
			s.connect(e)
		}
	case Failed:
		delete(s.waiting, e.ID)
		total.connects++
		if e.Errno == "ECONNREFUSED" {
			total.refused++
		} else {
			total.failed++
		}
		s.connect(e)
		s.fail(&e.Base, failure{e.Comm, e.Errno, e.Reason})
	case Closed:
		total.sent += e.Sent
		total.received += e.Received
		if e.Errno != "" {
			total.reset++
			s.fail(&e.Base, failure{e.Comm, e.Errno, e.Reason})
		}
	}
}

// connect keeps a connect if it is among the slowest.
func (s *summary) connect(e *Connection) {
	at, _ := slices.BinarySearchFunc(s.slow, e,
		func(a Connection, b *Connection) int { return cmp.Compare(b.Setup, a.Setup) })
	if at < s.slowest {
		s.slow = slices.Insert(s.slow, at, *e)
		s.slow = s.slow[:min(len(s.slow), s.slowest)]
	}
}

// finish counts the connects that still wait as failed.
func (s *summary) finish() {
	for _, id := range slices.Sorted(maps.Keys(s.waiting)) {
		e := s.waiting[id]
		e.State, e.Setup, e.Reason = Failed, s.now-e.Time,
			words("no answer from", e.Peer,
				"("+e.Remote.String()+") until the trace ended",
				iff(e.Reason != "", "("+e.Reason+")"))
		s.addConnection(&e)
	}
}

// A table is a part of a summary: its title, columns and rows. Numbers are right-aligned.
type table struct {
	Title   string
	Columns []column
	Rows    [][]string
}

type column struct {
	Name  string
	Right bool // numbers
}

// tables returns the tables that are not empty.
func (s *summary) tables() []table {
	var tables []table
	for _, t := range []table{s.callTable(), s.peerTable(), s.failureTable(),
		s.slowTable(), s.nameTable()} {
		if len(t.Rows) > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// numbers returns columns for numbers, between columns for text.
func numbers(before []string, names []string, after ...string) []column {
	var cs []column
	for _, n := range before {
		cs = append(cs, column{n, false})
	}
	for _, n := range names {
		cs = append(cs, column{n, true})
	}
	for _, n := range after {
		cs = append(cs, column{n, false})
	}
	return cs
}

func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// callTable returns the table of strace -c -w, with p99 and max.
func (s *summary) callTable() table {
	t := table{Title: "System calls", Columns: numbers(nil,
		[]string{"% time", "seconds", "avg", "p99", "max", "calls", "errors"}, "syscall")}
	all := time.Duration(0)
	for _, c := range s.calls {
		all += c.took.total
	}
	for _, c := range slices.SortedFunc(maps.Values(s.calls), func(a, b *callTotal) int {
		return cmp.Or(cmp.Compare(b.took.total, a.took.total),
			cmp.Compare(b.took.n+b.seen, a.took.n+a.seen), cmp.Compare(a.name, b.name))
	}) {
		row := []string{"", "", "", "", "", strconv.FormatUint(c.took.n+c.seen, 10),
			count(c.errors), c.name}
		if c.took.n > 0 {
			share := 100 * float64(c.took.total) / float64(max(all, 1))
			copy(row, []string{fmt.Sprintf("%.2f", share),
				fmt.Sprintf("%.6f", c.took.total.Seconds()), short(c.took.average()),
				short(c.took.quantile(0.99)), short(c.took.max)})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (s *summary) peerTable() table {
	t := table{Title: "Peers", Columns: numbers([]string{"node", "peer", "path"},
		[]string{"connects", "accepts", "refused", "failed", "reset", "sent", "received",
			"rtt avg", "rtt p99"})}
	for _, p := range slices.SortedFunc(maps.Values(s.peers), func(a, b *peerTotal) int {
		return cmp.Or(cmp.Compare(a.key.source, b.key.source),
			cmp.Compare(a.key.peer, b.key.peer))
	}) {
		rtt, p99 := "", ""
		if p.rtt.n > 0 {
			rtt, p99 = short(p.rtt.average()), short(p.rtt.quantile(0.99))
		}
		t.Rows = append(t.Rows, []string{s.head.name(p.key.source), p.key.peer, p.path,
			count(p.connects), count(p.accepts), count(p.refused), count(p.failed),
			count(p.reset),
			size(p.sent), size(p.received), rtt, p99})
	}
	return t
}

func (s *summary) failureTable() table {
	t := table{Title: "Failures", Columns: numbers(nil, []string{"first", "times"},
		"program", "error", "what and where")}
	sorted := slices.SortedFunc(maps.Values(s.failed), func(a, b *failureTotal) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.first, b.first),
			cmp.Compare(a.what.text, b.what.text))
	})
	for _, f := range sorted[:min(len(sorted), 2*s.slowest)] {
		t.Rows = append(t.Rows, []string{fmt.Sprintf("%.3f s", f.first.Seconds()),
			count(f.n), f.what.comm, f.what.errno, f.what.text})
	}
	return t
}

func (s *summary) slowTable() table {
	t := table{Title: "Slowest connects",
		Columns: numbers([]string{"node"}, []string{"took"}, "result", "to", "peer",
			"program", "conn")}
	for i := range s.slow {
		e := &s.slow[i]
		result := "opened"
		if e.State == Failed {
			result = words(e.Errno, e.Reason)
		}
		t.Rows = append(t.Rows, []string{s.head.name(e.Source), short(e.Setup), result,
			e.Proto + " " + e.Remote.String(), e.Peer,
			words(e.Comm, iff(e.PID != 0, strconv.Itoa(e.PID))), e.ID.String()})
	}
	return t
}

func (s *summary) nameTable() table {
	t := table{Title: "Names", Columns: numbers(nil,
		[]string{"look-ups", "failed", "avg", "p99", "max"}, "name")}
	sorted := slices.SortedFunc(maps.Values(s.names), func(a, b *nameTotal) int {
		return cmp.Or(cmp.Compare(b.took.max, a.took.max), cmp.Compare(a.name, b.name))
	})
	for _, n := range sorted[:min(len(sorted), 2*s.slowest)] {
		t.Rows = append(t.Rows, []string{count(n.took.n), count(n.failed),
			short(n.took.average()), short(n.took.quantile(0.99)), short(n.took.max), n.name})
	}
	return t
}

// size formats a number of bytes.
func size(n uint64) string {
	if n == 0 {
		return ""
	}
	v, unit := float64(n), 0
	for ; v >= 1024 && unit < 5; unit++ {
		v /= 1024
	}
	if unit == 0 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit-1])
}

// A summaryWriter writes the tables of a summary as text when it is closed.
type summaryWriter struct {
	out io.Writer
	s   *summary
}

func newSummaryWriter(w io.Writer, o Options) Writer {
	return &summaryWriter{w,
		newSummary(o.Slowest)}
}

func (w *summaryWriter) Write(e Event) error {
	w.s.add(e)
	return nil
}

// Flush does nothing, since a summary is complete only at the end.
func (w *summaryWriter) Flush() error { return nil }

func (w *summaryWriter) Close() error {
	w.s.finish()
	var b []byte
	for i, t := range w.s.tables() {
		if i > 0 {
			b = append(b, '\n')
		}
		b = t.appendText(b)
	}
	if w.s.missing > 0 {
		b = append(b, fmt.Sprintf("\n%d events are missing: the trace was written faster than it was read\n", w.s.missing)...)
	}
	_, err := w.out.Write(b)
	return err
}

// appendText appends a table. Its columns are as wide as their longest cell.
func (t *table) appendText(b []byte) []byte {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = len([]rune(c.Name))
		for _, row := range t.Rows {
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	line := func(cell func(i int) string, fill rune) {
		last := len(t.Columns) - 1
		for i, c := range t.Columns {
			text := string(appendComment(nil, cell(i)))
			pad := slices.Repeat([]rune{fill},
				widths[i]-min(widths[i], len([]rune(text))))
			switch {
			case c.Right:
				b = append(append(b, string(pad)...), text...)
			case i == last && fill == ' ': // no padding at the end of a line
				b = append(b, text...)
			default:
				b = append(append(b, text...), string(pad)...)
			}
			if i < last {
				b = append(b, ' ')
			}
		}
		b = append(b, '\n')
	}
	b = append(b, t.Title+"\n"...)
	line(func(i int) string { return t.Columns[i].Name }, ' ')
	line(func(int) string { return "" }, '-')
	for _, row := range t.Rows {
		line(func(i int) string { return row[i] }, ' ')
	}
	return b
}
