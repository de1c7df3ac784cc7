package trace

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPerfettoGolden(t *testing.T) {
	for _, name := range []string{"web", "merged"} {
		golden(t, name+".perfetto.json",
			write(t, "perfetto", Options{}, readAll(t, name+".jsonl")...))
	}
}

// A chromeEvent is an event of the Trace Event Format.
type chromeEvent struct {
	Ph, Name, Cat, ID, BP, S string
	PID, TID                 *int
	TS, Dur                  *float64
	Args                     map[string]any
}

func chromeEvents(t *testing.T, text string) []chromeEvent {
	t.Helper()
	var file struct {
		DisplayTimeUnit string
		TraceEvents     []chromeEvent
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	if file.DisplayTimeUnit != "ns" || file.TraceEvents == nil {
		t.Errorf("the object has displayTimeUnit %q, %d events", file.DisplayTimeUnit,
			len(file.TraceEvents))
	}
	return file.TraceEvents
}

// TestPerfettoStructure holds the output to the Trace Event Format: what each phase has
// to have; slices of a track lie within each other or apart; begins have ends; and arrows
// go forward in time, from slice to slice.
func TestPerfettoStructure(t *testing.T) {
	for _, name := range []string{"web", "merged"} {
		events := chromeEvents(t, write(t, "perfetto", Options{}, readAll(t, name+".jsonl")...))
		async, arrows := make(map[string]float64), make(map[string]chromeEvent)
		slices := make(map[string][]chromeEvent)
		for _, e := range events {
			if e.PID == nil || e.TID == nil || e.TS == nil || e.Args == nil ||
				e.Name == "" && e.Ph != "M" {
				t.Fatalf("an event lacks what all have: %+v", e)
			}
			track := fmt.Sprint(*e.PID, *e.TID)
			switch key := e.Cat + e.ID; e.Ph {
			case "X":
				if e.Dur == nil || *e.Dur < 0 {
					t.Errorf("a slice without duration: %+v", e)
				}
				slices[track] = append(slices[track], e)
			case "M":
				if _, ok := e.Args["name"].(string); !ok || e.Name != "process_name" &&
					e.Name != "thread_name" {
					t.Errorf("metadata of no kind: %+v", e)
				}
			case "i":
				if e.S != "t" && e.S != "g" {
					t.Errorf("an instant of scope %q", e.S)
				}
			case "b":
				async[key] = *e.TS
			case "e":
				if begin, ok := async[key]; !ok || begin > *e.TS {
					t.Errorf("an end without a begin: %+v", e)
				}
				delete(async, key)
			case "s":
				arrows[key] = e
			case "f":
				if begin, ok := arrows[key]; !ok || *begin.TS > *e.TS || e.BP != "e" {
					t.Errorf("an arrow's head without its tail: %+v", e)
				}
			default:
				t.Errorf("unknown phase %q", e.Ph)
			}
		}
		if len(async) > 0 {
			t.Errorf("begins without an end: %v", async)
		}
		for track, list := range slices {
			checkNesting(t, track, list)
		}
		checkArrows(t, events, slices)
		if want := 6; name == "merged" && len(arrows) != want {
			t.Errorf("%d arrows; want %d: between three connects and accepts, calls and connections", len(arrows), want)
		}
	}
}

// checkNesting finds slices that overlap.
func checkNesting(t *testing.T, track string, list []chromeEvent) {
	for i, a := range list {
		for _, b := range list[i+1:] {
			first, second := a, b
			if *second.TS < *first.TS {
				first, second = second, first
			}
			if end := *first.TS + *first.Dur; *second.TS < end &&
				*second.TS+*second.Dur > end {
				t.Errorf("on track %s, %q at %v for %v and %q at %v for %v overlap",
					track, first.Name, *first.TS, *first.Dur, second.Name, *second.TS,
					*second.Dur)
			}
		}
	}
}

// checkArrows finds ends of arrows that lie in no slice.
func checkArrows(t *testing.T, events []chromeEvent, tracks map[string][]chromeEvent) {
	for _, e := range events {
		if e.Ph != "s" && e.Ph != "f" {
			continue
		}
		if !slices.ContainsFunc(tracks[fmt.Sprint(*e.PID, *e.TID)],
			func(s chromeEvent) bool { return *s.TS <= *e.TS && *e.TS <= *s.TS+*s.Dur }) {
			t.Errorf("an arrow's end %s at %v lies in no slice", e.Ph, *e.TS)
		}
	}
}

// TestPerfettoMisfortunes looks for the four in the names of slices.
func TestPerfettoMisfortunes(t *testing.T) {
	events := chromeEvents(t, write(t, "perfetto", Options{}, readAll(t, "web.jsonl")...))
	for _, want := range []struct {
		ph, name string
		micros   float64
	}{
		{"X", "failed ECONNREFUSED refused by db (10.111.0.3:5433)", 1600},
		{"X", "connect ECONNREFUSED (refused by db (10.111.0.3:5433))", 1700},
		{"X", "connect (no answer from node ghost (10.111.0.9:8080) for 13s)", 13e6},
		{"X", "ECONNRESET reset by db (10.111.0.3:6379)", 4600},
		{"b", "A slow.example.com (192.0.2.53:53 did not answer within 5s)", 0},
	} {
		if !slices.ContainsFunc(events, func(e chromeEvent) bool {
			return e.Ph == want.ph && e.Name == want.name &&
				(e.Dur == nil || int(*e.Dur+0.5) == int(want.micros))
		}) {
			t.Errorf("no %s of %v us is called %q", want.ph, want.micros, want.name)
		}
	}
	if write(t, "perfetto", Options{}) != "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n]}\n" {
		t.Errorf("an empty trace is %s",
			strings.TrimSpace(write(t, "perfetto", Options{})))
	}
}
