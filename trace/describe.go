package trace

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// heads stores the headers of a trace, for formats that need them later.
type heads struct {
	headers map[int]*Header // by source
}

// add stores a header. The last header of a source counts, but its time starts at the
// first.
func (h *heads) add(e *Header) {
	if h.headers == nil {
		h.headers = make(map[int]*Header)
	}
	kept := *e
	if before := h.headers[e.Source]; before != nil {
		kept.Start = before.Start
	}
	if len(h.headers) < maxSources || h.headers[e.Source] != nil {
		h.headers[e.Source] = &kept
	}
}

// maxSources limits the nodes of a merged trace.
const maxSources = 1 << 12

// start returns the wall clock at time 0.
func (h *heads) start() time.Time {
	if first := h.headers[0]; first != nil {
		return first.Start
	}
	return time.Unix(0, 0)
}

// covers reports whether a merged trace also has the other side of a connection:
// according to the headers, its node was recorded at that time.
func (h *heads) covers(e *Connection) bool {
	for source, other := range h.headers {
		if source != e.Source && other.Node == e.Peer && e.Peer != "" && !other.Merged &&
			other.Time <= e.Time {
			return true
		}
	}
	return false
}

// name returns the name of a source's node, or its number if it has no name.
func (h *heads) name(source int) string {
	if e := h.headers[source]; e != nil && e.Node != "" {
		return e.Node
	}
	return "#" + strconv.Itoa(source)
}

// short formats a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + short(-d)
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(d / 500).Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

// words joins the parts that are not empty.
func words(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}

// iff returns text if holds is true.
func iff(holds bool, text string) string {
	if holds {
		return text
	}
	return ""
}

func describeHeader(e *Header) string {
	if e.Merged {
		return "merged, from " + e.Start.Format(time.RFC3339Nano)
	}
	var addrs []string
	for _, a := range e.Addrs {
		addrs = append(addrs, a.String())
	}
	return words("node", e.Node, iff(len(addrs) > 0, "("+strings.Join(addrs, ", ")+")"),
		iff(e.Program != "", "runs "+e.Program),
		"from", e.Start.Format(time.RFC3339Nano),
		iff(e.ClockError > 0, "clock "+short(e.ClockOffset)+" ± "+short(e.ClockError)))
}

// describeCall says what boxer did for a call, and whether it is a call of the 32-bit
// ABI.
func describeCall(e *Call) string { return describeABI(e.ABI, &e.Served) }

func describeABI(abi string, s *Served) string {
	return words(iff(abi != "", abi+" call"), describeServed(s))
}

// describeServed says what boxer did, or returns "" for nothing.
func describeServed(s *Served) string {
	return words(s.Peer, s.Path, iff(s.Conn != 0, "conn "+s.Conn.String()),
		iff(s.Network > 0, "waited "+short(s.Network)),
		iff(s.Inside > 0, "boxer "+short(s.Inside)),
		iff(s.Failure != "", "failed: "+s.Failure), s.Note)
}

func describeConnection(e *Connection) string {
	arrow := "->"
	if e.Role == RoleAccept {
		arrow = "<-"
	}
	text := words("conn "+e.ID.String(), e.Proto, e.Local.String(), arrow,
		e.Remote.String(), iff(e.Peer != "", "("+e.Peer+")"), e.Path) +
		": " + string(e.State)
	carried := fmt.Sprintf("sent %d bytes in %d, received %d in %d", e.Sent,
		e.SegmentsSent, e.Received, e.SegmentsReceived)
	switch e.State {
	case Connecting:
		text = words(text, iff(e.Setup > 0, "for "+short(e.Setup))) + iff(e.Reason != "",
			": "+e.Reason)
	case Opened:
		text = words(text, iff(e.Setup > 0, "after "+short(e.Setup))) +
			iff(e.Reason != "", ": "+e.Reason)
	case Failed:
		text = words(text, iff(e.Setup > 0, "after "+short(e.Setup))) + ": " +
			words(e.Errno, e.Reason)
	case Progress:
		text = words(text, carried)
	case Closed:
		text = words(text, "after", short(e.Duration)+":", e.Errno, e.Reason+",", carried)
	}
	return words(text, iff(e.RTT > 0, "rtt "+short(e.RTT)))
}

func describeData(e *Data) string {
	way := "sent"
	if e.Received {
		way = "received"
	}
	text := fmt.Sprintf("conn %v %s %d bytes at %d", e.Conn, way, e.Length, e.Offset)
	if len(e.Payload) > 0 {
		text += ": " + strconv.QuoteToASCII(string(e.Payload))
	}
	return text
}

func describeDNS(e *DNS) string {
	answer := e.RCode
	if len(e.Answers) > 0 {
		answer = strings.Join(e.Answers, ", ")
	}
	return words("dns", e.QType, e.Query+":", answer,
		iff(e.Server != "", "from "+e.Server), "in", short(e.Duration),
		iff(e.Failure != "", "failed: "+e.Failure))
}

func describeProcess(e *Process) string {
	switch {
	case e.What == "exec":
		return "exec " + e.Exe
	case e.What == "start":
		return "start" + iff(e.Parent != 0, ", by "+strconv.Itoa(e.Parent))
	case strings.HasPrefix(e.Status, "SIG"):
		return "killed by " + e.Status
	case e.Status == "":
		return "exited"
	}
	return "exited with " + e.Status
}

func describeDropped(e *Dropped) string {
	if e.Count == 0 {
		return "events are missing here: their file was removed before it was read"
	}
	return strconv.FormatUint(e.Count, 10) + " events are missing here"
}
