package trace

import (
	"strings"
	"testing"
	"time"
)

// write gives events to a writer of a format and returns what it wrote.
func write(t testing.TB, format string, o Options, events ...Event) string {
	t.Helper()
	var out strings.Builder
	w, err := NewWriter(format, &out, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestText(t *testing.T) {
	start := &Header{Node: "web", Start: time.Date(2026, 11, 24, 13, 43, 59, 0, time.UTC)}
	at := func(micros int, tid int) (Base, Thread) {
		return Base{Time: time.Duration(micros) * time.Microsecond},
			Thread{PID: 100, TID: tid, Comm: "psql"}
	}
	call := func(micros, tid int, c Call) *Call {
		c.Base, c.Thread = at(micros, tid)
		return &c
	}
	refused := call(10, 100, Call{Name: "connect",
		Args: []string{"3", "{sa_family=AF_INET}", "16"}, Ret: -1, Errno: "ECONNREFUSED",
		Duration: 1500 * time.Microsecond,
		Served: Served{Peer: "db", Path: "punched", Conn: 0x3f2a,
			Network: 1200 * time.Microsecond,
			Failure: "refused by db (10.111.0.3:5432)"}})
	for _, tc := range []struct {
		name   string
		o      Options
		events []Event
		want   string
	}{
		{name: "result and comment", events: []Event{refused},
			want: `connect(3, {sa_family=AF_INET}, 16)     = -1 ECONNREFUSED (Connection refused) /* db punched conn 3f2a waited 1.2ms failed: refused by db (10.111.0.3:5432) */`},
		{name: "for parsers", o: Options{NoComments: true, Durations: true},
			events: []Event{start, refused, &Connection{}, &DNS{}},
			want:   `connect(3, {sa_family=AF_INET}, 16)     = -1 ECONNREFUSED (Connection refused) <0.001500>`},
		{name: "short call", events: []Event{call(0, 100,
			Call{Name: "close", Args: []string{"3"}})},
			want: `close(3)                                = 0`},
		{name: "watched", events: []Event{call(0, 100, Call{Name: "openat", Args: []string{"AT_FDCWD", `"/etc/hosts"`, "O_RDONLY"}, Phase: Watched})},
			want: `openat(AT_FDCWD, "/etc/hosts", O_RDONLY) = ?`},
		{name: "result's note", events: []Event{call(0, 100,
			Call{Name: "poll", Ret: 1, RetNote: " ([{fd=3, revents=POLLIN}])"})},
			want: `poll()                                  = 1 ([{fd=3, revents=POLLIN}])`},
		{name: "restart", events: []Event{call(0, 100,
			Call{Name: "accept", Ret: -1, Errno: "ERESTARTSYS"})},
			want: `accept()                                = ? ERESTARTSYS (To be restarted if SA_RESTART is set)`},
		{name: "threads", events: []Event{
			call(0, 100, Call{Name: "accept", Args: []string{"3"}, Phase: Enter}),
			call(1, 101, Call{Name: "close", Args: []string{"4"}}),
			call(0, 100, Call{Name: "accept",
				Args: []string{"3", "{sa_family=AF_INET}", "[16]"}, Phase: Exit, Ret: 5}),
			&Process{Base: Base{}, Thread: Thread{PID: 101, TID: 101}, What: "exit",
				Status: "0"},
			&Process{Base: Base{}, Thread: Thread{PID: 100, TID: 100}, What: "exit",
				Status: "SIGTERM"},
		}, want: `accept(3 <unfinished ...>
[pid   101] close(4)                                = 0
[pid   100] <... accept resumed>, {sa_family=AF_INET}, [16]) = 5
[pid   101] +++ exited with 0 +++
[pid   100] +++ killed by SIGTERM +++`},
		{name: "nothing between", events: []Event{
			call(0, 100, Call{Name: "accept", Args: []string{"3"}, Phase: Enter}),
			call(0, 100, Call{Name: "accept", Args: []string{"3", "NULL"}, Phase: Exit, Ret: 5}),
		}, want: `accept(3, NULL)                         = 5`},
		{name: "lost", events: []Event{
			call(0, 100, Call{Name: "accept", Args: []string{"3"}, Phase: Enter}),
			&End{Reason: "x"},
			call(0, 100, Call{Name: "accept", Args: []string{"3"}, Phase: Lost}),
		}, want: `accept(3 <unfinished ...>
/* end: x */
<... accept resumed>)                   = ?`},
		{name: "times", o: Options{Clock: Microsecond, Location: time.UTC},
			events: []Event{start, call(1234567, 100, Call{Name: "pause"})},
			want: `13:43:59.000000 /* node web from 2026-11-24T13:43:59Z */
13:44:00.234567 pause()                                 = 0`},
		{name: "seconds", o: Options{Clock: Seconds, Location: time.UTC,
			NoComments: true}, events: []Event{start,
			call(1234567, 100, Call{Name: "pause"})},
			want: `13:44:00 pause()                                 = 0`},
		{name: "epoch", o: Options{Clock: Epoch, NoComments: true},
			events: []Event{start, call(5, 100, Call{Name: "pause"})},
			want:   `1795527839.000005 pause()                                 = 0`},
		{name: "relative", o: Options{Relative: true, NoComments: true},
			events: []Event{call(5, 100, Call{Name: "pause"}),
				call(1_500_005, 100, Call{Name: "pause"})},
			want: `     0.000000 pause()                                 = 0
     1.500000 pause()                                 = 0`},
		{name: "hostile text", events: []Event{&DNS{Query: "*/ evil\x1b[2J\u009b\n"}},
			want: `/* dns * / evil?[2J??: in 0s */`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := write(t, "text", tc.o, tc.events...); got != tc.want+"\n" {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

// TestConvert writes text of what a Sink writes, as it comes.
func TestConvert(t *testing.T) {
	var out strings.Builder
	w, err := NewWriter("text", &out, Options{NoComments: true})
	if err != nil {
		t.Fatal(err)
	}
	c := Convert(w, nil)
	for _, e := range []Event{&Header{}, &Call{Name: "a"},
		&Call{Name: "b", Phase: Enter}} {
		if _, err := c.Write(Append(nil, e)); err != nil {
			t.Fatal(err)
		}
	}
	want := "a()                                     = 0\nb( <unfinished ...>\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestTextGolden(t *testing.T) {
	golden(t, "web.strace", write(t, "text",
		Options{Clock: Microsecond, Durations: true, Location: time.UTC},
		readAll(t, "web.jsonl")...))
}
