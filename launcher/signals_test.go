package launcher

import (
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// TestForward gives a forwarder signals and looks which of them the program gets.
func TestForward(t *testing.T) {
	const program, init, other = 10, 11, 12
	user := func(sig unix.Signal) caught { return caught{sig: sig, pid: other} }
	terminal := func(sig unix.Signal) caught { return caught{sig: sig, code: siKernel} }
	early := func(c caught) caught { c.early = true; return c }
	note, fromInit := user(unix.SIGSTOP), caught{sig: unix.SIGCONT, pid: init}
	for name, tc := range map[string]struct {
		come    []caught
		stopped []bool // what the program is at each look
		later   []caught
		want    []unix.Signal
	}{
		"from a process":       {come: []caught{user(unix.SIGTERM)}, want: []unix.Signal{unix.SIGTERM}},
		"from the terminal":    {come: []caught{terminal(unix.SIGINT)}},
		"before the program":   {come: []caught{early(terminal(unix.SIGINT))}, want: []unix.Signal{unix.SIGINT}},
		"early, from init":     {come: []caught{early(fromInit)}},
		"from the program":     {come: []caught{{sig: unix.SIGUSR1, pid: program}}},
		"SIGCONT to a running": {come: []caught{user(unix.SIGCONT)}, stopped: []bool{false}, want: []unix.Signal{unix.SIGCONT}},
		"SIGCONT to a stopped": {come: []caught{user(unix.SIGCONT)}, stopped: []bool{true, true}, want: []unix.Signal{unix.SIGCONT}},
		"a shell's fg": {come: []caught{note, user(unix.SIGCONT), fromInit},
			stopped: []bool{true, false}},
		"a shell's fg, later": {come: []caught{note, fromInit, user(unix.SIGCONT)},
			stopped: []bool{false}},
		"fg, and stopped again": {come: []caught{user(unix.SIGCONT)}, stopped: []bool{true, true},
			later: []caught{user(unix.SIGTSTP)}, want: []unix.Signal{unix.SIGTSTP}},
	} {
		t.Run(name, func(t *testing.T) {
			virtualtime.Test(t, func(t *testing.T) {
				var got []unix.Signal
				w := &forwarder{pid: program, init: init, ahead: tc.come,
					send: func(s unix.Signal) { got = append(got, s) },
					stopped: func() bool {
						is := tc.stopped[0]
						tc.stopped = tc.stopped[1:]
						return is
					},
					waiting: func() []caught { return tc.later }}
				w.run(closedFile(t))
				if !slices.Equal(got, tc.want) {
					t.Errorf("the program gets %v, want %v", got, tc.want)
				}
				if len(tc.stopped) > 0 {
					t.Errorf("%d looks at the program are left", len(tc.stopped))
				}
			})
		})
	}
}

// TestForwardLongAfterStop passes on a SIGCONT that comes long after boxer-init has ended
// a stop: it is no shell's fg.
func TestForwardLongAfterStop(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		w := &forwarder{init: 11, stopped: func() bool { return false }}
		for _, s := range []caught{{sig: unix.SIGSTOP}, {sig: unix.SIGCONT, pid: 11}} {
			if w.isForProgram(s) {
				t.Errorf("%+v is passed on", s)
			}
		}
		if w.isForProgram(caught{sig: unix.SIGCONT, pid: 12}) {
			t.Error("a SIGCONT right after the stop is passed on")
		}
		time.Sleep(groupWithin)
		if !w.isForProgram(caught{sig: unix.SIGCONT, pid: 12}) {
			t.Error("a SIGCONT long after the stop is not passed on")
		}
	})
}

// closedFile returns a file whose reads fail.
func closedFile(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	return r
}
