package trace

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	_ "embed" // for the parts of the page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parts of the page. The script inserts strings from the trace as text, never as
// markup. A content security policy allows only this script, by its hash, and no network
// access.
var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

const (
	// pageEvents bounds the calls, the connections and the look-ups on a page, each on
	// its own, unless Options sets another bound. 20,000 of each make about 10 MB, which
	// browsers show without delay.
	pageEvents = 20_000

	// pageText bounds a string, such as a call's arguments, in bytes.
	pageText = 2000

	// pageDrops bounds how many places with missing events the page marks.
	pageDrops = 1000
)

// htmlWriter writes one self-contained page: a timeline, a list with search, and the
// summary.
type htmlWriter struct {
	out     io.Writer
	summary *summary
	open    map[sideKey]*pageConn
	ids     map[ConnID]told
	conns   keeper
	calls   keeper
	names   keeper
	drops   [][2]int64
	number  uint64 // number of events so far
	counts  struct{ connections, failed, reset, calls, errors, looks uint64 }
}

// told records what the figures have counted of a connection. Both of its sides may be in
// the trace.
type told uint8

const (
	toldBegan told = 1 << iota
	toldBad
)

// first reports whether what of a connection is to be counted now, and records that it
// has been counted.
func (w *htmlWriter) first(id ConnID, what told) bool {
	if len(w.ids) >= maxOpen {
		clear(w.ids)
	}
	before := w.ids[id]
	w.ids[id] = before | what
	return before&what == 0
}

// pageConn is a connection that has not ended yet.
type pageConn struct {
	conn          Connection
	began, opened time.Duration // opened is -1 if it was not established
}

func newHTML(w io.Writer, o Options) Writer {
	bound := o.MaxEvents
	if bound <= 0 {
		bound = pageEvents
	}
	return &htmlWriter{out: w, summary: newSummary(o.Slowest),
		open: make(map[sideKey]*pageConn), ids: make(map[ConnID]told),
		conns: keeper{bound: bound}, calls: keeper{bound: bound},
		names: keeper{bound: bound}}
}

func (w *htmlWriter) Write(e Event) error {
	w.summary.add(e)
	w.number++
	switch e := e.(type) {
	case *Call:
		w.call(e)
	case *Connection:
		w.connection(e)
	case *DNS:
		w.counts.looks++
		kept := *e
		w.names.keep(&kept, e.Failure != "" || e.RCode != "NOERROR", e.Duration, w.number)
	case *Dropped:
		if len(w.drops) < pageDrops {
			w.drops = append(w.drops, [2]int64{int64(e.Time), int64(e.Count)})
		}
	}
	return nil
}

// Flush does nothing, because the page is written at the end.
func (w *htmlWriter) Flush() error { return nil }

func (w *htmlWriter) call(e *Call) {
	if e.Phase == Enter {
		return
	}
	w.counts.calls++
	bad := e.Phase == Lost || e.Failure != ""
	if e.Errno != "" {
		w.counts.errors++
	}
	kept := *e
	kept.Args = []string{strings.Join(e.Args, ", ")}
	w.calls.keep(&kept, bad, e.Duration, w.number)
	if c := w.open[sideKey{e.Source, e.Conn}]; c != nil && e.Phase == Lost &&
		c.opened < 0 {
		c.conn.Reason = e.Failure
	}
}

func (w *htmlWriter) connection(e *Connection) {
	key := sideKey{e.Source, e.ID}
	c := w.open[key]
	if c == nil {
		for old := range w.open { // make room for another
			if len(w.open) < maxOpen {
				break
			}
			delete(w.open, old)
		}
		c = &pageConn{began: max(0, e.Time-e.Setup), opened: -1}
		if e.Role == RoleAccept { // Setup is then how long a program waited in accept
			c.began = e.Time
		}
		if e.State == Closed || e.State == Progress {
			c.began = max(0, e.Time-e.Duration)
			c.opened = c.began
		}
		w.open[key] = c
		if w.first(e.ID, toldBegan) {
			w.counts.connections++
		}
	}
	if e.Comm == "" {
		e.Thread = c.conn.Thread
	}
	e.RTT, e.Path = cmp.Or(e.RTT, c.conn.RTT), cmp.Or(e.Path, c.conn.Path)
	c.conn = *e
	switch e.State {
	case Opened:
		c.opened = e.Time
	case Failed, Closed:
		w.over(c)
		delete(w.open, key)
	}
}

// over adds a connection to the page when it has ended, or when the trace has.
func (w *htmlWriter) over(c *pageConn) {
	bad := c.conn.State == Failed || c.conn.State == Connecting || c.conn.Errno != ""
	switch {
	case !bad || !w.first(c.conn.ID, toldBad):
	case c.opened < 0:
		w.counts.failed++
	default:
		w.counts.reset++
	}
	w.number++
	w.conns.keep(c, bad, c.conn.Time-c.began, w.number)
}

func (w *htmlWriter) Close() error {
	now := w.summary.now
	for _, c := range w.open {
		c.conn.Time = now
		w.over(c)
	}
	w.summary.finish()
	// the encoder escapes <, > and &, so no string can end the script element
	data, err := json.Marshal(w.data())
	if err != nil {
		return fmt.Errorf("trace page: %w", err)
	}
	return w.page(data)
}

// page writes the page with its data in the middle.
func (w *htmlWriter) page(data []byte) error {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	}
	before, after, _ := strings.Cut(pageHTML, "{{data}}")
	fill := strings.NewReplacer("{{script-hash}}", hash(pageJS), "{{style-hash}}",
		hash(pageCSS), "{{style}}", pageCSS, "{{script}}", pageJS)
	for _, part := range [][]byte{[]byte(fill.Replace(before)), data,
		[]byte(fill.Replace(after))} {
		if _, err := w.out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// pageData is what page.js reads. Rows hold numbers; a string is stored as its index in
// Texts.
type pageData struct {
	Start   string      `json:"start"`
	End     int64       `json:"end"`
	Nodes   []pageNode  `json:"nodes"`
	Figures [][]any     `json:"figures"` // name, number, whether one is bad
	Notes   []string    `json:"notes"`
	Texts   []string    `json:"s"`
	Conns   [][]int64   `json:"conns"`
	Calls   [][]int64   `json:"calls"`
	Names   [][]int64   `json:"names"`
	Drops   [][2]int64  `json:"drops"`
	Tables  []pageTable `json:"tables"`

	places map[string]int64
	node   map[int]int64 // by source
}

type pageNode struct {
	Name    string   `json:"name"`
	Program string   `json:"program"`
	Addrs   []string `json:"addrs"`
}

type pageTable struct {
	Title   string       `json:"title"`
	Columns []pageColumn `json:"columns"`
	Rows    [][]string   `json:"rows"`
}

type pageColumn struct {
	Name  string `json:"name"`
	Right bool   `json:"right"`
}

// data returns the data of the page, made from the items that were kept.
func (w *htmlWriter) data() *pageData {
	d := &pageData{
		Start: w.summary.head.start().UTC().Format(time.RFC3339Nano),
		End:   int64(w.summary.now),
		Nodes: []pageNode{}, Notes: []string{}, Texts: []string{}, Conns: [][]int64{},
		Calls: [][]int64{}, Names: [][]int64{},
		Drops: w.drops, Tables: []pageTable{}, places: make(map[string]int64),
		node: make(map[int]int64),
	}
	if d.Drops == nil {
		d.Drops = [][2]int64{}
	}
	for _, k := range w.conns.sorted() {
		d.addConn(w, k.(*pageConn))
	}
	for _, k := range w.calls.sorted() {
		d.addCall(w, k.(*Call))
	}
	for _, k := range w.names.sorted() {
		d.addName(w, k.(*DNS))
	}
	for _, t := range w.summary.tables() {
		p := pageTable{Title: t.Title, Rows: t.Rows}
		for _, c := range t.Columns {
			p.Columns = append(p.Columns, pageColumn(c))
		}
		d.Tables = append(d.Tables, p)
	}
	d.Figures = [][]any{{"connections", w.counts.connections, false},
		{"not established", w.counts.failed, true}, {"reset", w.counts.reset, true},
		{"calls", w.counts.calls, false}, {"calls with errors", w.counts.errors, false},
		{"look-ups", w.counts.looks, false}}
	w.notes(d)
	return d
}

// notes adds sentences about what the page omits.
func (w *htmlWriter) notes(d *pageData) {
	for _, k := range []struct {
		name string
		*keeper
	}{{"connections", &w.conns}, {"calls", &w.calls}, {"look-ups", &w.names}} {
		if left := k.seen - uint64(len(k.items)); left > 0 {
			d.Notes = append(d.Notes, fmt.Sprintf("The timeline and the list have %d of %d %s: those that failed and those that took longest. %d are left out; figures and tables count all.",
				len(k.items), k.seen, k.name, left))
		}
	}
	if w.summary.missing > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("%d events are missing: the trace was written faster than it was read, or the disk was full. Dashed lines show where.", w.summary.missing))
	}
}

// text returns the index of a string in Texts.
func (d *pageData) text(s string) int64 {
	if len(s) > pageText {
		s = strings.ToValidUTF8(s[:pageText], "") + "…"
	}
	at, ok := d.places[s]
	if !ok {
		at = int64(len(d.Texts))
		d.places[s] = at
		d.Texts = append(d.Texts, s)
	}
	return at
}

// nodeOf returns the index of a source's node.
func (d *pageData) nodeOf(w *htmlWriter, source int) int64 {
	at, ok := d.node[source]
	if !ok {
		at = int64(len(d.Nodes))
		d.node[source] = at
		n := pageNode{Name: w.summary.head.name(source), Addrs: []string{}}
		if h := w.summary.head.headers[source]; h != nil {
			n.Program = h.Program
			for _, a := range h.Addrs {
				n.Addrs = append(n.Addrs, a.String())
			}
		}
		d.Nodes = append(d.Nodes, n)
	}
	return at
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (d *pageData) addConn(w *htmlWriter, c *pageConn) {
	e := &c.conn
	state := string(e.State)
	if e.State == Connecting && e.Reason != "" {
		state = string(Failed)
	}
	d.Conns = append(d.Conns, []int64{d.nodeOf(w, e.Source), d.text(e.ID.String()),
		bit(e.Role == RoleAccept), d.text(e.Proto), d.text(e.Local.String()),
		d.text(e.Remote.String()),
		d.text(e.Peer), d.text(e.Path), int64(e.PID), int64(e.TID), d.text(e.Comm),
		int64(c.began), int64(c.opened), int64(e.Time), d.text(state),
		d.text(e.Errno), d.text(e.Reason),
		int64(min(e.Sent, 1<<53)), int64(min(e.Received, 1<<53)),
		int64(min(e.SegmentsSent, 1<<53)), int64(min(e.SegmentsReceived, 1<<53)),
		int64(e.RTT), bit(e.ByPeer), e.Stream})
}

func (d *pageData) addCall(w *htmlWriter, e *Call) {
	did := e.Served
	did.Failure, did.Conn = "", 0
	conn := ""
	if e.Conn != 0 {
		conn = e.Conn.String()
	}
	note := e.RetNote
	if text := errnoTexts[e.Errno]; text != "" {
		note = " (" + text + ")" + note
	}
	d.Calls = append(d.Calls, []int64{d.nodeOf(w, e.Source), int64(e.Time),
		int64(e.Duration), int64(e.PID), int64(e.TID), d.text(e.Comm), d.text(e.Name),
		d.text(e.Args[0]), d.text(string(e.Phase)),
		d.text(strconv.FormatInt(e.Ret, 10)), d.text(e.Errno), d.text(note),
		d.text(e.Failure), d.text(describeABI(e.ABI, &did)), d.text(conn)})
}

func (d *pageData) addName(w *htmlWriter, e *DNS) {
	d.Names = append(d.Names, []int64{d.nodeOf(w, e.Source), int64(e.Time),
		int64(e.Duration), int64(e.PID), d.text(e.Comm), d.text(e.Query), d.text(e.QType),
		d.text(strings.Join(e.Answers, ", ")), d.text(e.RCode), d.text(e.Server),
		d.text(e.Failure)})
}

// A keeper keeps a limited number of items. It prefers those that failed, then those that
// took longest.
type keeper struct {
	bound int
	seen  uint64
	items keptHeap
}

type kept struct {
	item   any
	bad    bool
	took   time.Duration
	number uint64
}

func (k *keeper) keep(item any, bad bool, took time.Duration, number uint64) {
	k.seen++
	n := kept{item, bad, took, number}
	if len(k.items) < k.bound {
		heap.Push(&k.items, n)
	} else if k.items[0].less(&n) {
		k.items[0] = n
		heap.Fix(&k.items, 0)
	}
}

// sorted returns the kept items in the order in which they were added.
func (k *keeper) sorted() []any {
	order := slices.Clone(k.items)
	slices.SortFunc(order, func(a, b kept) int { return cmp.Compare(a.number, b.number) })
	items := make([]any, len(order))
	for i := range order {
		items[i] = order[i].item
	}
	return items
}

// less reports whether the keeper drops this item before other: it did not fail, was
// shorter, or was added later.
func (a *kept) less(b *kept) bool {
	if a.bad != b.bad {
		return b.bad
	}
	if a.took != b.took {
		return a.took < b.took
	}
	return a.number > b.number
}

// keptHeap is a heap with the item on top that the keeper drops first.
type keptHeap []kept

func (h keptHeap) Len() int           { return len(h) }
func (h keptHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h keptHeap) Less(i, j int) bool { return h[i].less(&h[j]) }

// Push implements heap.Interface.
func (h *keptHeap) Push(x any) { *h = append(*h, x.(kept)) }

// Pop implements heap.Interface.
func (h *keptHeap) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	*h = (*h)[:last]
	return n
}
