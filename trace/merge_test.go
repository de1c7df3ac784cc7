package trace

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// inputs are files of testdata, or traces in memory.
func inputs(t testing.TB, names ...string) []Input {
	t.Helper()
	var ins []Input
	for _, name := range names {
		ins = append(ins, Input{name, func() (io.ReadCloser,
			error) {
			return os.Open("testdata/" + name)
		}})
	}
	return ins
}

func memory(name string, events ...Event) Input {
	var lines []byte
	for _, e := range events {
		lines = Append(lines, e)
	}
	return Input{name, func() (io.ReadCloser,
		error) {
		return io.NopCloser(bytes.NewReader(lines)), nil
	}}
}

// collect merges and returns the events.
func collect(t testing.TB, ins ...Input) []Event {
	t.Helper()
	var out bytes.Buffer
	if err := Merge(&jsonWriter{out: &out}, ins, nil); err != nil {
		t.Fatal(err)
	}
	var events []Event
	for r := NewReader(&out); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}

func TestMergeGolden(t *testing.T) {
	var out strings.Builder
	if err := Merge(&jsonWriter{out: &out}, inputs(t, "web.jsonl", "db.jsonl"),
		nil); err != nil {
		t.Fatal(err)
	}
	golden(t, "merged.jsonl", out.String())
	for _, format := range []struct{ name, file string }{{"text", "merged.strace"},
		{"pcapng", "merged.pcapng"}} {
		golden(t, format.file, write(t, format.name,
			Options{Clock: Microsecond, Location: time.UTC},
			readAll(t, "merged.jsonl")...))
	}
}

// TestMergeOrder looks at the sample: db's clock is 3 s ahead, and each connect has to
// come before its accept.
func TestMergeOrder(t *testing.T) {
	asked, took := make(map[ConnID]time.Duration), make(map[ConnID]time.Duration)
	last := time.Duration(0)
	for _, e := range collect(t, inputs(t, "db.jsonl", "web.jsonl")...) {
		if c, ok := e.(*Connection); ok && c.State == Connecting {
			asked[c.ID] = c.Time
		} else if ok && c.Role == RoleAccept && c.State == Opened {
			took[c.ID] = c.Time
			if _, ok := asked[c.ID]; !ok {
				t.Errorf("connection %v is accepted before anyone asked for it", c.ID)
			}
		}
		if e.Type() != "header" && endOf(e) < last-time.Millisecond {
			t.Errorf("%s ended at %v, after one that ended at %v", Append(nil, e),
				endOf(e), last)
		}
		if e.Type() != "header" {
			last = endOf(e)
		}
	}
	if len(took) != 3 {
		t.Errorf("%d connections were accepted; want 3", len(took))
	}
	for id, at := range took {
		if d := at - asked[id]; d < 0 || d > 2*time.Millisecond {
			t.Errorf("connection %v was accepted %v after it was asked for", id, d)
		}
	}
}

// TestMergeCausality has clocks that nobody measured, or measured badly.
func TestMergeCausality(t *testing.T) {
	begin := sampleStart
	conn := func(id ConnID, role string, setup, ms float64) *Connection {
		return &Connection{Base: at(ms + setup), Setup: millis(setup), State: Opened,
			ID: id, Role: role, Local: netip.MustParseAddrPort("10.111.0.2:1"),
			Remote: netip.MustParseAddrPort("10.111.0.3:2")}
	}
	a := memory("a", &Header{Node: "a", Start: begin}, conn(1, RoleConnect, 30, 100),
		conn(2, RoleConnect, 30, 200))
	b := memory("b", &Header{Node: "b", Start: begin.Add(-5 * time.Second),
		ClockOffset: time.Second, ClockError: time.Millisecond},
		conn(1, RoleAccept, 0, 110), conn(2, RoleAccept, 0, 190),
		conn(3, RoleConnect, 30, 300))
	c := memory("c", &Header{Node: "c", Start: begin.Add(-time.Minute)},
		conn(3, RoleAccept, 0, 10))
	for _, order := range [][]Input{{a, b, c}, {c, b, a}, {b, a, c}} {
		got := make(map[string]time.Duration)
		for _, e := range collect(t, order...) {
			if c, ok := e.(*Connection); ok {
				got[c.ID.String()+" "+c.Role] = c.Time
			}
		}
		// The connection that shows b's clock to be the latest is accepted just when it
		// is asked for.
		want := map[string]time.Duration{"1 connect": millis(130),
			"1 accept": millis(120), "2 connect": millis(230), "2 accept": millis(200),
			"3 connect": millis(340), "3 accept": millis(310)}
		if !maps.Equal(got, want) {
			t.Errorf("order %s, %s, %s:\ngot  %v\nwant %v", order[0].Name, order[1].Name,
				order[2].Name, got, want)
		}
	}
}

// TestMergeAgain merges parts of one trace, and what was merged before.
func TestMergeAgain(t *testing.T) {
	parts := collect(t,
		memory("x", &Header{Node: "a", Start: sampleStart}, &End{Base: at(5)}),
		memory("x.1", &Header{Node: "a", Start: sampleStart}, &Dropped{Base: at(2)}))
	if len(parts) != 4 || parts[2].Type() != "dropped" ||
		parts[2].At().Source != parts[3].At().Source {
		t.Errorf("parts of one trace became %+v", parts)
	}
	once := collect(t, inputs(t, "web.jsonl", "db.jsonl")...)
	twice := collect(t, memory("again", once...))
	if len(once) != len(twice) {
		t.Fatalf("%d events merged again are %d", len(once), len(twice))
	}
	for i := range once {
		if got, want := string(Append(nil, twice[i])),
			string(Append(nil, once[i])); got != want && once[i].Type() != "header" {
			t.Fatalf("event %d merged again is\n%s, not\n%s", i, got, want)
		}
	}
}

func TestMergeErrors(t *testing.T) {
	bad := Input{"bad", func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(header + "{\n" + `{"type":"end"}`)), nil
	}}
	var lines []string
	err := Merge(&jsonWriter{out: io.Discard}, []Input{bad},
		func(name string, err *LineError) { lines = append(lines, name+": "+err.Error()) })
	if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0],
		"bad: line 2, byte 79") {
		t.Errorf("got %q and %v", lines, err)
	}
	bad.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("PK\x03")), nil }
	if err := Merge(&jsonWriter{out: io.Discard}, []Input{bad}, nil); !errors.Is(err,
		ErrNotTrace) {
		t.Errorf("got %v; want ErrNotTrace", err)
	}
}

// endless is a trace of so many calls that it is never in memory as a whole.
func endless(node string, calls int) Input {
	return Input{node, func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			lines := Append(nil, &Header{Node: node, Start: sampleStart})
			call := sampleCall()
			for i := range calls {
				call.Time = time.Duration(i) * time.Millisecond
				lines = Append(lines, call)
				if len(lines) > flushAt {
					if _, err := w.Write(lines); err != nil {
						return
					}
					lines = lines[:0]
				}
			}
			w.Write(lines)
			w.Close()
		}()
		return r, nil
	}}
}

// TestBoundedMemory streams 150 MB through merge and every format; less with the race
// detector, which is slow.
func TestBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	calls := 200_000
	if raceEnabled {
		calls = 20_000
	}
	for _, format := range Formats() {
		var before, now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		peak := uint64(0)
		out := &watched{look: func() {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}}
		w, err := NewWriter(format, out, Options{MaxEvents: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if err := Merge(w, []Input{endless("a", calls), endless("b", calls)},
			nil); err != nil {
			t.Fatal(err)
		}
		if grown := int64(peak) - int64(before.HeapAlloc); grown > 16<<20 {
			t.Errorf("%s: the heap grew by %d MiB", format, grown>>20)
		} else {
			t.Logf("%s: %d MiB written, the heap grew by %d KiB", format, out.n>>20,
				grown>>10)
		}
	}
}

// watched looks at the memory now and then while it is written to.
type watched struct {
	n, next int
	look    func()
}

func (w *watched) Write(b []byte) (int, error) {
	if w.n += len(b); w.n >= w.next {
		w.next = w.n + 16<<20
		w.look()
	}
	return len(b), nil
}
