package syscalls

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// TestLogRows checks which calls of a traced node are logged, and which are trapped.
func TestLogRows(t *testing.T) {
	names := map[uintptr]string{unix.SYS_READ: "read", unix.SYS_OPENAT: "openat",
		unix.SYS_SENDTO: "sendto", unix.SYS_CONNECT: "connect", unix.SYS_CLONE: "clone",
		unix.SYS_SENDMSG: "sendmsg", unix.SYS_EXECVE: "execve", unix.SYS_GETSOCKOPT: "getsockopt",
		unix.SYS_IO_URING_SETUP: "io_uring_setup"}
	var shown []uintptr
	for nr := range names {
		shown = append(shown, nr)
	}
	a := Abilities{Memory: true}
	rows := byNumber(a.LogRows(a.Takes(Traced(shown)), names, false))
	for nr, want := range map[uintptr][]strace.Capture{
		unix.SYS_READ:   nil,
		unix.SYS_OPENAT: {{Arg: 1, Kind: strace.CaptureString}},
		unix.SYS_SENDTO: {{Arg: 1, Kind: strace.CaptureSent}},
	} {
		last := rows[nr][len(rows[nr])-1]
		if last.Log == nil || !slices.Equal(*last.Log, want) || len(last.When) > 0 {
			t.Errorf("%s: %+v", names[nr], last)
		}
		for _, e := range rows[nr][:len(rows[nr])-1] {
			if len(e.When) == 0 || e.do == nil {
				t.Errorf("%s: %+v takes all calls", names[nr], e)
			}
		}
	}
	if n := len(rows[unix.SYS_SENDTO]); n != 4 {
		t.Errorf("%d rows for sendto", n)
	}
	for _, nr := range []uintptr{unix.SYS_CONNECT, unix.SYS_CLONE, unix.SYS_SENDMSG,
		unix.SYS_EXECVE, unix.SYS_GETSOCKOPT, unix.SYS_IO_URING_SETUP} {
		for _, e := range rows[nr] {
			if e.Log != nil {
				t.Errorf("%s is logged", names[nr])
			}
		}
	}
}

// TestLogged passes logged calls to a tracer: one that was reported as waiting before has
// the same ID then.
func TestLogged(t *testing.T) {
	w := boxedWorld(t)
	var got []string
	var ids []uint64
	numbers := strace.Numbers{Native: map[string]uintptr{"openat": unix.SYS_OPENAT,
		"recvfrom": unix.SYS_RECVFROM, "execve": unix.SYS_EXECVE}}
	tracer := tracerFunc(func(r *Record) {
		d := r.Decode(100)
		text := d.Name + "(" + strings.Join(d.Args, ", ") + ")"
		switch r.Outcome {
		case strace.Waits:
			text += " waits"
		case strace.FailedBy:
			text += " " + unix.ErrnoName(r.Errno)
		case strace.Returned:
			if r.Value != 0 {
				text += " ok"
			}
		}
		got, ids = append(got, text), append(ids, r.ID)
		r.Release()
	})
	n := w.a.node
	start := time.Now()
	recv := LoggedCall{TID: 7, Nr: unix.SYS_RECVFROM, Args: [6]uint64{3, 0x1000, 100},
		Waits: true, Start: start}
	n.logged(&recv) // nobody traces
	tracing := NewTracing(tracer, []uintptr{unix.SYS_OPENAT, unix.SYS_RECVFROM}, numbers)
	tracing.Bytes = 100
	n.Trace(tracing)
	n.logged(&LoggedCall{TID: 7, Nr: unix.SYS_CLOSE}) // is not shown
	n.logged(&recv)
	n.logged(&LoggedCall{TID: 8, Nr: unix.SYS_OPENAT, Result: -int64(unix.ENOENT),
		Args:   [6]uint64{^uint64(99), 0x2000, unix.O_RDONLY},
		Memory: []LoggedMemory{{Addr: 0x2000, Data: []byte("/nope\x00")}}, Start: start})
	recv.Waits, recv.Result = false, 2
	recv.Memory = []LoggedMemory{{Addr: 0x1000, Data: []byte("hi"), After: true}}
	n.logged(&recv)
	n.Executed(9, start, "/bin/true", []string{"true", "x"}, []string{"A=b"})
	n.Trace(nil)
	want := []string{`recvfrom(3) waits`,
		`openat(AT_FDCWD, "/nope", O_RDONLY) ENOENT`,
		`recvfrom(3, "hi", 100, 0, NULL, NULL) ok`,
		`execve("/bin/true", ["true", "x"], 0x7ffe00000038 /* 1 vars */)`}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(ids) == 4 && (ids[0] != ids[2] || ids[0] == ids[1]) {
		t.Errorf("IDs %v", ids)
	}
}

// A tracerFunc is a Tracer.
type tracerFunc func(*Record)

func (f tracerFunc) Called(r *Record) { f(r) }
