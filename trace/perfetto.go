package trace

import (
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	// pidSpace is greater than every pid (pid_max of proc(5) is at most 2^22). In merged
	// traces the pids of each node begin at a multiple of it.
	pidSpace = 1 << 22

	// pidConnections and pidNames are the processes that show a node's connections and
	// lookups.
	pidConnections = pidSpace - 1
	pidNames       = pidSpace - 2

	// maxTracks limits the tracks whose names are remembered, and the arrows of which
	// only one end is known.
	maxTracks = 1 << 17
)

// A perfettoWriter writes the Trace Event Format, JSON that Perfetto and chrome://tracing
// read: a track for each thread and each connection, lookups for each node, and arrows
// from connects to accepts.
type perfettoWriter struct {
	out  io.Writer
	json eventArray
	head heads

	named  map[spot]string   // tracks whose name has been written; their spots have no time
	open   map[sideKey]*side // open connections
	tracks int               // number of connections' tracks so far
	arrows [2]map[ConnID]end // by connection: between calls, and between connections
	looks  int
	now    time.Duration
}

// A sideKey is a connection as one node sees it.
type sideKey struct {
	source int
	id     ConnID
}

// A side is one side of a connection.
type side struct {
	conn  Connection
	tid   int
	since time.Duration // when the connection was asked for or opened
}

// A spot is a place on a track.
type spot struct {
	pid, tid int
	at       time.Duration
}

// An end of an arrow waits for the other end.
type end struct {
	spot
	asks bool
}

// The kinds of arrows.
const (
	callArrow = iota
	connArrow
)

func newPerfetto(w io.Writer, _ Options) Writer {
	p := &perfettoWriter{out: w, named: make(map[spot]string),
		open: make(map[sideKey]*side)}
	for i := range p.arrows {
		p.arrows[i] = make(map[ConnID]end)
	}
	return p
}

func (w *perfettoWriter) Write(e Event) error {
	w.now = max(w.now, endOf(e))
	switch e := e.(type) {
	case *Header:
		w.head.add(e)
	case *Call:
		w.call(e)
	case *Process:
		at := w.thread(&e.Base, &e.Thread)
		w.instant(at, describeProcess(e), "process")
	case *Connection:
		w.connection(e)
	case *Data:
		w.data(e)
	case *DNS:
		w.dns(e)
	case *Dropped:
		w.json.begin("i", spot{pid(e.Source, 0), 0, e.Time}, "events are missing", "boxer")
		w.json.text("s", "g")
		w.json.args("count", strconv.FormatUint(e.Count, 10))
	}
	if len(w.json.buf) >= flushAt {
		return w.Flush()
	}
	return nil
}

// Flush writes the events so far. The array is complete only after Close, but readers
// accept it without its end.
func (w *perfettoWriter) Flush() error {
	_, err := w.out.Write(w.json.buf)
	w.json.buf = w.json.buf[:0]
	return err
}

// Close also shows what is still open at the end of the trace.
func (w *perfettoWriter) Close() error {
	for key, s := range w.open {
		e := s.conn
		e.Time, e.Duration = w.now, w.now-s.since
		if e.State == Connecting {
			e.Reason = words("no answer until the trace ended", e.Reason)
		}
		w.slice(s, &e, s.since, string(e.State))
		delete(w.open, key)
	}
	w.json.end()
	return w.Flush()
}

// pid returns a process's number in the output.
func pid(source, pid int) int { return source*pidSpace + pid%pidSpace }

// process writes the name of a process.
func (w *perfettoWriter) process(source, number int, name string) {
	key := spot{pid: pid(source, number), tid: -1}
	if source != 0 || number >= pidNames {
		name = words(w.head.name(source), name)
	}
	w.label(key, "process_name", name)
}

// label writes the name of a process or thread once.
func (w *perfettoWriter) label(key spot, kind, name string) {
	if w.named[key] == name || len(w.named) >= maxTracks {
		return
	}
	w.named[key] = name
	w.json.begin("M", spot{key.pid, max(key.tid, 0), 0}, kind, "__metadata")
	w.json.args("name", name)
}

// thread writes the name of a thread's track, and returns the place of an event on it.
func (w *perfettoWriter) thread(at *Base, t *Thread) spot {
	where := spot{pid(at.Source, t.PID), t.TID, at.Time}
	if t.Comm != "" {
		if t.PID == t.TID {
			w.process(at.Source, t.PID, t.Comm)
		}
		w.label(spot{where.pid, where.tid, 0}, "thread_name", t.Comm)
	}
	return where
}

func (w *perfettoWriter) instant(at spot, name, category string, args ...string) {
	w.json.begin("i", at, name, category)
	w.json.text("s", "t")
	w.json.args(args...)
}

// call shows a call as a slice, or as an instant if it has no end.
func (w *perfettoWriter) call(e *Call) {
	at := w.thread(&e.Base, &e.Thread)
	args := []string{"call", e.Name + "(" + strings.Join(e.Args, ", ") + ")", "error",
		words(e.Errno, errnoTexts[e.Errno]), "boxer", describeCall(e)}
	switch e.Phase {
	case Enter: // an event for the whole call follows
		return
	case Watched:
		w.instant(at, e.Name, "watched", args...)
		return
	case Lost:
		args = append(args, "result", "none: its process or the trace ended first")
	default:
		args = append(args, "result", strconv.FormatInt(e.Ret, 10)+e.RetNote)
	}
	name := e.Name
	if e.Errno != "" {
		name += " " + e.Errno
	}
	w.json.begin("X", at, words(name, iff(e.Failure != "", "("+e.Failure+")")), "call")
	w.json.micros("dur", e.Duration)
	w.json.args(args...)
	switch {
	case e.Conn == 0 || e.Phase == Lost:
	case e.Name == "connect":
		w.arrow(callArrow, e.Conn, end{at, true})
	case strings.HasPrefix(e.Name, "accept"):
		at.at = max(at.at, at.at+e.Duration-1)
		w.arrow(callArrow, e.Conn, end{at, false})
	}
}

// arrow draws the arrow of a connection when both of its ends are known.
func (w *perfettoWriter) arrow(kind int, id ConnID, e end) {
	other, ok := w.arrows[kind][id]
	if !ok || other.asks == e.asks {
		if len(w.arrows[kind]) < maxTracks {
			w.arrows[kind][id] = e
		}
		return
	}
	delete(w.arrows[kind], id)
	from, to := e, other
	if other.asks {
		from, to = other, e
	}
	to.at = max(to.at, from.at)
	category := [...]string{callArrow: "call", connArrow: "connection"}[kind]
	w.json.begin("s", from.spot, "connect to accept", category)
	w.json.text("id", id.String())
	w.json.args()
	w.json.begin("f", to.spot, "connect to accept", category)
	w.json.text("id", id.String())
	w.json.text("bp", "e")
	w.json.args()
}

// connection shows a connection as slices: one until it is established, and one until it
// ends.
func (w *perfettoWriter) connection(e *Connection) {
	key := sideKey{e.Source, e.ID}
	s := w.open[key]
	if s == nil {
		s = w.begin(key, e)
	}
	if e.Comm == "" {
		e.Thread = s.conn.Thread
	}
	before := s.conn.State
	s.conn = *e
	at := spot{pid(e.Source, pidConnections), s.tid, e.Time}
	switch e.State {
	case Opened:
		if e.Role != RoleAccept {
			w.arrow(connArrow, e.ID, end{spot{at.pid, at.tid, s.since}, true})
		}
		if e.Role != RoleAccept && (e.Setup > 0 || before == Connecting) {
			w.slice(s, e, s.since, "connecting")
		}
		s.since = e.Time
		if e.Role == RoleAccept {
			w.arrow(connArrow, e.ID, end{at, false})
		}
	case Failed:
		w.slice(s, e, s.since, "failed")
		delete(w.open, key)
	case Closed:
		w.slice(s, e, s.since, iff(e.Errno == "", "open"))
		delete(w.open, key)
	case Progress:
		s.conn.State = Opened
	}
}

// begin creates the track of a connection.
func (w *perfettoWriter) begin(key sideKey, e *Connection) *side {
	for old := range w.open { // make room for another one
		if len(w.open) < maxOpen {
			break
		}
		delete(w.open, old)
	}
	w.tracks++
	s := &side{conn: *e, tid: w.tracks, since: e.Time - e.Setup}
	switch {
	case e.Role == RoleAccept && e.State == Opened:
		// its Setup is how long a program waited for the connection
		s.since = e.Time
	case e.State == Closed || e.State == Progress:
		s.since = e.Time - e.Duration
	}
	w.open[key] = s
	w.process(e.Source, pidConnections, "connections")
	to := " -> "
	if e.Role == RoleAccept {
		to = " <- "
	}
	w.json.begin("M", spot{pid(e.Source, pidConnections), s.tid, 0}, "thread_name",
		"__metadata")
	w.json.args("name", words(e.Proto, e.Local.String()+to+e.Remote.String(),
		iff(e.Peer != "", "("+e.Peer+")"), e.ID.String()))
	return s
}

// slice shows the state of a connection from since until the event.
func (w *perfettoWriter) slice(s *side, e *Connection, since time.Duration, what string) {
	name := words(what, e.Errno, iff(e.State != Opened, e.Reason))
	w.json.begin("X", spot{pid(e.Source, pidConnections), s.tid, since}, name,
		"connection")
	w.json.micros("dur", max(0, e.Time-since))
	if e.Errno != "" || e.State == Connecting || e.State == Failed {
		w.json.text("cname", "terrible")
	}
	w.json.args("connection", describeConnection(e), "program",
		words(e.Comm, iff(e.PID != 0, strconv.Itoa(e.PID))))
}

// data shows a piece of payload as an instant on the connection's track.
func (w *perfettoWriter) data(e *Data) {
	s := w.open[sideKey{e.Source, e.Conn}]
	if s == nil {
		return
	}
	way := "sent "
	if e.Received {
		way = "received "
	}
	w.instant(spot{pid(e.Source, pidConnections), s.tid, e.Time},
		way+strconv.Itoa(e.Length)+" bytes", "data", "what", describeData(e))
}

// dns shows a lookup as an asynchronous slice, since lookups may overlap.
func (w *perfettoWriter) dns(e *DNS) {
	w.process(e.Source, pidNames, "names")
	w.looks++
	at := spot{pid(e.Source, pidNames), 0, e.Time}
	name := words(e.QType, e.Query, iff(e.RCode != "NOERROR", e.RCode),
		iff(e.Failure != "", "("+e.Failure+")"))
	for _, ph := range []string{"b", "e"} {
		w.json.begin(ph, at, name, "dns")
		w.json.text("id", strconv.Itoa(w.looks))
		w.json.args("look-up", describeDNS(e), "program",
			words(e.Comm, iff(e.PID != 0, strconv.Itoa(e.PID))))
		at.at += max(0, e.Duration)
	}
}

// eventArray writes the array of events.
type eventArray struct {
	buf  []byte
	more bool
}

func (a *eventArray) open() {
	if a.more {
		a.buf = append(a.buf, ",\n"...)
		return
	}
	a.more = true
	a.buf = append(a.buf, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"...)
}

// begin begins an event, which args ends.
func (a *eventArray) begin(ph string, at spot, name, category string) {
	a.open()
	a.buf = append(a.buf, `{"ph":"`...)
	a.buf = append(append(a.buf, ph...), '"')
	a.buf = strconv.AppendInt(append(a.buf, `,"pid":`...), int64(at.pid), 10)
	a.buf = strconv.AppendInt(append(a.buf, `,"tid":`...), int64(at.tid), 10)
	a.micros("ts", at.at)
	a.text("cat", category)
	a.text("name", name)
}

func (a *eventArray) text(key, value string) {
	a.buf = append(append(append(a.buf, `,"`...), key...), `":`...)
	a.buf = appendString(a.buf, value)
}

// micros writes a time in microseconds, with decimals.
func (a *eventArray) micros(key string, d time.Duration) {
	a.buf = append(append(append(a.buf, `,"`...), key...), `":`...)
	if d < 0 {
		a.buf = append(a.buf, '-')
		d = -d
	}
	a.buf = strconv.AppendInt(a.buf, int64(d/time.Microsecond), 10)
	nanos := strconv.Itoa(int(d % time.Microsecond))
	a.buf = append(append(append(a.buf, '.'), "000"[len(nanos):]...), nanos...)
}

// args writes the arguments of an event, given as names and values by turns, and ends the
// event. It omits empty ones.
func (a *eventArray) args(pairs ...string) {
	a.buf = append(a.buf, `,"args":{`...)
	comma := ""
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		a.buf = append(append(a.buf, comma...), '"')
		a.buf = append(append(a.buf, pairs[i]...), `":`...)
		a.buf = appendString(a.buf, pairs[i+1])
		comma = ","
	}
	a.buf = append(a.buf, "}}"...)
}

// end ends the array.
func (a *eventArray) end() {
	if !a.more {
		a.buf = append(a.buf, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":["...)
	}
	a.buf = append(a.buf, "\n]}\n"...)
}
