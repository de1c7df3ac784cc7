package trace

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestMisfortunesInEveryFormat looks for which misfortune it was, and where.
func TestMisfortunesInEveryFormat(t *testing.T) {
	events := readAll(t, "web.jsonl")
	for _, format := range Formats() {
		out := write(t, format, Options{}, events...)
		for name, place := range map[string]string{
			"hang":      "no answer from node ghost (10.111.0.9:8080) for 13s",
			"refused":   "refused by db (10.111.0.3:5433)",
			"slow name": "192.0.2.53:53 did not answer within 5s",
			"reset":     "reset by db (10.111.0.3:6379)",
		} {
			if !strings.Contains(out, place) {
				t.Errorf("%s does not show the %s: no %q", format, name, place)
			}
		}
		// which has it in DNS's form
		if n := strings.Count(out, "slow.example.com"); n == 0 && format != "pcapng" {
			t.Errorf("%s does not show the slow name", format)
		}
	}
}

// FuzzFormats writes any trace in every format: it may be nonsense, and must end soon and
// without a panic.
func FuzzFormats(f *testing.F) {
	for _, name := range []string{"web.jsonl", "db.jsonl", "merged.jsonl"} {
		var lines []byte
		for i, e := range readAll(f, name) {
			if lines = Append(lines, e); i%12 == 11 {
				f.Add(lines)
				lines = nil
			}
		}
	}
	for _, e := range filled(f) {
		f.Add(Append(nil, e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		slow := time.AfterFunc(10*time.Second,
			func() { panic("it takes more than 10 s") })
		defer slow.Stop()
		in := Input{"fuzz", func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(header), bytes.NewReader(b))), nil
		}}
		for _, format := range Formats() {
			w, err := NewWriter(format, &limited{left: 64 << 20},
				Options{Clock: Microsecond, Relative: true, Durations: true,
					MaxEvents: 5})
			if err != nil {
				t.Fatal(err)
			}
			if err := Merge(w, []Input{in, in}, nil); errors.Is(err, errTooMuch) {
				t.Fatalf("%s makes more than 64 MiB of %d bytes", format, len(b))
			}
		}
	})
}

var errTooMuch = errors.New("too much")

// limited is a writer that takes so many bytes.
type limited struct{ left int }

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errTooMuch
	}
	return len(b), nil
}

// TestRecorded writes each format of a trace that boxer recorded: a Python program in
// node app, behind a NAT, had its connect refused and its connection reset by node db, a
// name that took 2 s, and a connect to node ghost, which was stopped.
func TestRecorded(t *testing.T) {
	events := readAll(t, "recorded.jsonl")
	for _, format := range Formats() {
		out := write(t, format, Options{Clock: Microsecond, Durations: true,
			Location: time.UTC}, events...)
		name := "recorded." + format
		switch format {
		case "json":
			name = "recorded.jsonl" // as it was read
		case "html":
			name, out = "recorded.page.json", pagedData(t, out)
		}
		golden(t, name, out)
		for _, place := range []string{"refused by db (10.111.0.2:5433)",
			"reset by db (10.111.0.2:6379)", "A slow.example.com",
			"waits for a path to ghost (10.111.0.3:80)"} {
			if !strings.Contains(out, place) &&
				!(format == "json" && strings.HasPrefix(place, "A ")) {
				t.Errorf("%s has no %q", format, place)
			}
		}
	}
}
