package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// filled returns one event of each type in which every field is set.
func filled(t testing.TB) []Event {
	var events []Event
	for _, doc := range Describe() {
		e := newEvent([]byte(doc.Type))
		fill(t, reflect.ValueOf(e).Elem())
		switch e := e.(type) {
		case *Call:
			e.Phase = Exit // others have no result
		case *Header:
			e.Schema = Schema
		}
		events = append(events, e)
	}
	return events
}

func fill(t testing.TB, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = netip.MustParseAddr("fd00::2")
		return
	case *netip.AddrPort:
		*p = netip.MustParseAddrPort("10.111.0.3:5432")
		return
	case *netip.Prefix:
		*p = netip.MustParsePrefix("10.111.0.0/16")
		return
	case *time.Time:
		*p = time.Date(2026, 11, 24, 13, 43, 59, 123456789, time.UTC)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.String:
		v.SetString("a \"b\" \\ \n\t\x01 é \u2028 <c>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-1<<62 + 1)
	case reflect.Uint64:
		v.SetUint(1<<64 - 1)
	case reflect.Uint8:
		v.SetUint(200)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0))
		fill(t, v.Index(1))
	default:
		t.Fatalf("a field is %s", v.Type())
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range filled(t) {
		line := Append(nil, want)
		if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("%s is no line of JSON", line)
		}
		r := NewReader(bytes.NewReader(line))
		r.began = true
		got, err := r.Next()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ncame back as %+v (%v)\nwant %+v", line, got, err, want)
		}
	}
}

// TestFieldsAreWritten finds fields of the structs that no fields method has.
func TestFieldsAreWritten(t *testing.T) {
	for _, e := range filled(t) {
		var fields map[string]any
		if err := json.Unmarshal(Append(nil, e), &fields); err != nil {
			t.Fatal(err)
		}
		for _, doc := range Describe() {
			if doc.Type != e.Type() {
				continue
			}
			if len(fields) != len(doc.Fields)+1 {
				t.Errorf("%s: %d fields were written, %d are described", e.Type(),
					len(fields)-1, len(doc.Fields))
			}
			for _, f := range doc.Fields {
				if _, ok := fields[f.Name]; !ok {
					t.Errorf("%s: field %s was not written", e.Type(), f.Name)
				}
			}
		}
	}
}

func TestZeroIsShort(t *testing.T) {
	for _, tc := range []struct {
		e    Event
		want string
	}{
		{&Header{}, `{"type":"header","schema":"1.0"}`},
		{&Call{FD: NoFD, Name: "getpid"}, `{"type":"call","call":"getpid","ret":0}`},
		{&Call{Name: "close", Phase: Watched}, `{"type":"call","call":"close","fd":0,"phase":"watched"}`},
		{&Connection{ID: 0x3f2a}, `{"type":"connection","conn":"3f2a"}`},
		{&Data{Payload: []byte("\x00\xff")}, `{"type":"data","payload":"AP8="}`},
		{&End{Reason: "\x1b[2J \u009b \x7f \xff"}, `{"type":"end","reason":"\u001b[2J \u009b \u007f ` + "\ufffd" + `"}`},
	} {
		if got := string(Append(nil, tc.e)); got != tc.want+"\n" {
			t.Errorf("got %swant %s", got, tc.want)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, e := range filled(t) {
		if e.Type() == "header" { // the names of prefixes are made
			continue
		}
		if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], e) }); n > 0 &&
			!raceEnabled {
			t.Errorf("%s: %v allocations", e.Type(), n)
		}
	}
}

const header = `{"type":"header","schema":"1.7","node":"db","from the future":{"a":[1,"]"]}}` + "\n"

func TestReaderErrors(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		events   int
		err      error
		where    string
	}{
		{name: "empty", in: "", err: io.EOF},
		{name: "good", in: header + `{"type":"end"}` + "\n", events: 2, err: io.EOF},
		{name: "no newline at the end", in: header + `{"type":"end"}`, events: 2, err: io.EOF},
		{name: "empty lines, CRLF", in: header + "\r\n\n" + `{"type":"end"}` + "\r\n", events: 2, err: io.EOF},
		{name: "a type of the future", in: header + `{"type":"quantum","spin":[]}` + "\n" + `{"type":"end"}`, events: 2, err: io.EOF},
		{name: "cut short", in: header + `{"type":"call","dur":17`, events: 1, err: ErrTruncated, where: "line 2, byte 100"},
		{name: "another version", in: `{"type":"header","schema":"2.0"}` + "\n" + header, err: ErrVersion, where: "line 1, byte 0"},
		{name: "no version", in: `{"type":"header"}`, err: ErrVersion, where: "line 1, byte 0"},
		{name: "other JSON", in: `{"name":"x"}`, err: ErrNotTrace, where: "line 1, byte 0"},
		{name: "text", in: "hello\nworld\n", err: ErrNotTrace, where: "line 1, byte 0"},
		{name: "no header", in: `{"type":"end"}`, err: ErrNotTrace, where: "line 1, byte 8"},
		{name: "binary", in: "\x7fELF\x02", err: ErrNotTrace, where: "line 1, byte 0"},
		{name: "a wrong kind", in: header + `{"type":"dropped","count":"many"}` + "\n", events: 1, err: ErrDamaged, where: "line 2, byte 103"},
		{name: "zeros", in: header + "\x00\x00\x00\n", events: 1, err: ErrDamaged,
			where: "line 2, byte 77"},
		{name: "too long", in: header + `{"type":"end","reason":"` + strings.Repeat("x", maxLine) + "\"}\n", events: 1, err: ErrDamaged, where: "line 2, byte 77"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tc.in))
			for i := range tc.events {
				if _, err := r.Next(); err != nil {
					t.Fatalf("event %d: %v", i, err)
				}
			}
			_, err := r.Next()
			if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.where) {
				t.Errorf("got %v; want %v at %s", err, tc.err, tc.where)
			}
		})
	}
}

func TestReaderGoesOnAfterDamage(t *testing.T) {
	long := `{"type":"end","reason":"` + strings.Repeat("x", 2*maxLine) + "\"}\n"
	r := NewReader(strings.NewReader(header + "{\"type\":\"end\n" + long + `{"type":"dropped","count":3}` + "\n"))
	var kinds []string
	var lines []int64
	for {
		e, err := r.Next()
		var at *LineError
		switch {
		case errors.Is(err, io.EOF):
			if want := []string{"header", "dropped"}; !reflect.DeepEqual(kinds, want) ||
				!reflect.DeepEqual(lines, []int64{2, 3}) {
				t.Errorf("read %q and errors at lines %d; want %q and 2, 3", kinds, lines, want)
			}
			return
		case errors.As(err, &at):
			lines = append(lines, at.Line)
		case err != nil:
			t.Fatal(err)
		default:
			kinds = append(kinds, e.Type())
		}
	}
}

// FuzzReader gives the reader anything: it must end, and what it reads must be written
// and read alike.
func FuzzReader(f *testing.F) {
	f.Add([]byte(header + `{"type":"end"}`))
	for _, e := range filled(f) {
		f.Add(append([]byte(header), Append(nil, e)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			e, err := r.Next()
			var at *LineError
			if errors.As(err, &at) && at.Offset >= 0 && at.Offset <= int64(len(b)) &&
				!errors.Is(err, ErrNotTrace) && !errors.Is(err, ErrVersion) {
				continue
			}
			if err != nil {
				return
			}
			line := Append(nil, e)
			again := NewReader(bytes.NewReader(line))
			again.began = true
			if same, err := again.Next(); err != nil ||
				!bytes.Equal(Append(nil, same), line) {
				t.Fatalf("%s came back as %+v (%v)", line, same, err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	call := sampleCall()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], call)
	}
}

func BenchmarkReader(b *testing.B) {
	line := Append(nil, sampleCall())
	b.SetBytes(int64(len(line)))
	in := io.MultiReader(strings.NewReader(header), repeat{line, new(int)})
	r := NewReader(in)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// repeat reads a line for ever.
type repeat struct {
	line []byte
	at   *int
}

func (r repeat) Read(b []byte) (n int, err error) {
	for n < len(b) {
		m := copy(b[n:], r.line[*r.at:])
		n += m
		*r.at = (*r.at + m) % len(r.line)
	}
	return n, nil
}

func sampleCall() *Call {
	return &Call{
		Base: Base{Time: 1234567890}, Duration: 123456,
		Thread: Thread{PID: 4711, TID: 4712, Comm: "postgres"},
		Name:   "connect",
		Args:   []string{"3<TCP 10.111.0.2:40110>", `{sa_family=AF_INET, sin_port=htons(5432), sin_addr=inet_addr("10.111.0.3")}`, "16"},
		FD:     3, Ret: -1, Errno: "ECONNREFUSED",
		Served: Served{Peer: "db", Path: "punched", Conn: 0x3f2a91c0, Network: 1200000,
			Inside: 34000, Failure: "refused by db (10.111.0.3:5432)"},
	}
}
