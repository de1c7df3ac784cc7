package trace

import (
	"slices"
	"testing"
)

// typesSeen is a Writer that keeps the types of what it gets.
type typesSeen []string

func (k *typesSeen) Write(e Event) error {
	*k = append(*k, e.Type())
	return nil
}
func (*typesSeen) Flush() error { return nil }
func (*typesSeen) Close() error { return nil }

// TestOfProcess has two processes: of the other's events nothing is left.
func TestOfProcess(t *testing.T) {
	mine, other := Thread{PID: 10, TID: 11}, Thread{PID: 20, TID: 20}
	var k typesSeen
	w := OfProcess(&k, 10)
	for _, e := range []Event{
		&Header{}, &Process{Thread: mine}, &Process{Thread: other},
		&Call{Thread: mine, Served: Served{Conn: 1}},
		&Call{Thread: other, Served: Served{Conn: 2}}, &Connection{ID: 1, State: Opened},
		&Connection{ID: 2, State: Opened},
		&Connection{ID: 3, State: Opened, Thread: mine}, &Data{Conn: 1}, &Data{Conn: 2},
		&Data{Conn: 3},
		&Connection{ID: 3, State: Closed}, &Data{Conn: 3}, &DNS{Thread: other},
		&DNS{Thread: mine}, &Dropped{}, &End{},
	} {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"header", "process", "call", "connection", "connection", "data",
		"data", "connection", "dns", "dropped", "end"}
	if !slices.Equal(k, want) {
		t.Errorf("got %q, want %q", k, want)
	}
}
