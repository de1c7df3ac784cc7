package rewrite

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLog lets the kernel do calls that are only logged. Each is told once, by the log or
// by a question, with its result and the memory that belongs to it.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logged")
	if out, err := exec.Command("gcc", "-O1", "-pthread", "-o", path,
		"testdata/logged.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	type call struct {
		Logged
		memory []string
	}
	var logged []call
	var asked atomic.Int64
	log := func(nr uintptr, capture ...Capture) Rule {
		return Rule{Nr: nr, Log: true, Capture: capture}
	}
	cfg := Config{Rules: []Rule{log(unix.SYS_GETPPID), log(unix.SYS_OPENAT, CaptureString+1),
		log(unix.SYS_SENDTO, CaptureSent+1), log(unix.SYS_RECVFROM, CaptureReceived+1),
		log(unix.SYS_CLOCK_NANOSLEEP, CaptureTime+2), log(unix.SYS_MUNMAP),
		log(unix.SYS_MMAP), log(unix.SYS_FUTEX)},
		CopyFD: copyFD, Payload: 10,
		Logged: func(c *Logged) {
			k := call{Logged: *c}
			for _, p := range c.Pieces {
				k.memory = append(k.memory, string(p.Data))
			}
			logged = append(logged, k)
		}}
	l := newLabOf(t, native, cfg, func(c *Call) {
		if c.Nr() == unix.SYS_GETPPID {
			asked.Add(1)
		}
		c.Continue()
	})
	begin := time.Now()
	if got := l.run(t, path); got != "done" {
		t.Fatalf("got %q", got)
	}
	end := time.Now()
	l.s.FlushLog()
	of := func(nr uintptr) (found []call) {
		for _, c := range logged {
			if c.Nr == nr {
				found = append(found, c)
			}
		}
		return found
	}
	const threads, calls = 3, 20000
	n := len(of(unix.SYS_GETPPID)) + int(asked.Load())
	t.Log(n, "calls of getppid,", asked.Load(), "of them asked")
	// and those of the signal handler, one every 500 us at most
	if n < threads*calls || n > threads*calls+int(end.Sub(begin)/(500*time.Microsecond)) {
		t.Errorf("%d calls of getppid, want %d and a few", n, threads*calls)
	}
	opens := of(unix.SYS_OPENAT)
	at := slices.IndexFunc(opens, func(c call) bool { return slices.Equal(c.memory, []string{"/nope\x00"}) })
	if at < 0 || opens[at].Result != -int64(unix.ENOENT) ||
		opens[at+1].Result != -int64(unix.EFAULT) || len(opens[at+1].memory) != 0 {
		t.Errorf("opens: %+v", opens)
	}
	for _, c := range opens[:max(at, 0)] { // libc's
		if len(c.memory) != 1 || !strings.HasPrefix(c.memory[0], "/") {
			t.Errorf("open of %q = %d", c.memory, c.Result)
		}
	}
	for _, nr := range []uintptr{unix.SYS_SENDTO, unix.SYS_RECVFROM} {
		c := of(nr)
		if len(c) != 1 || c[0].Result != 2000 ||
			!slices.Equal(c[0].memory, []string{"questionxx"}) {
			t.Errorf("call %d: %+v", nr, c)
		}
	}
	sleeps := of(unix.SYS_CLOCK_NANOSLEEP)
	if len(sleeps) != 2 || !sleeps[0].Waits || sleeps[1].Waits || sleeps[1].Result != 0 ||
		sleeps[1].Took < 300*time.Millisecond || !sleeps[0].Start.Equal(sleeps[1].Start) ||
		len(sleeps[1].memory) != 1 ||
		!bytes.HasPrefix([]byte(sleeps[1].memory[0]), make([]byte, 8)) {
		t.Errorf("clock_nanosleep: %+v", sleeps)
	}
	for _, c := range logged {
		if c.Start.Before(begin) || c.Start.Add(c.Took).After(end) || c.TID == 0 {
			t.Fatalf("%+v is not between %v and %v", c, begin, end)
		}
	}
	if len(of(unix.SYS_MMAP)) < 10 || len(of(unix.SYS_MUNMAP)) == 0 {
		t.Errorf("%d calls of mmap, %d of munmap", len(of(unix.SYS_MMAP)),
			len(of(unix.SYS_MUNMAP)))
	}
}

// TestParseLogged reads entries that no program of boxer's writes.
func TestParseLogged(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, sizeofLoggedHead-1),
		make([]byte, sizeofLoggedHead), bytes.Repeat([]byte{0xff}, sizeofLoggedHead+20)} {
		if c, ok := parseLogged(b); ok {
			t.Errorf("%d bytes: %+v", len(b), c)
		}
	}
}

// TestLogDamaged reads logs that a program has overwritten: nothing in them is read, and
// reading ends.
func TestLogDamaged(t *testing.T) {
	size := uint64(len(callLog{}.data))
	for _, tc := range []struct {
		name       string
		head, tail uint64
		entry      uint32 // the size of the first entry
	}{
		{"the tail is at the last bytes", size + 8, size - 2, 0},
		{"more than the log has", 1 << 40, 0, uint32(size)},
		{"the tail is before the head", 8, 16, 8},
		{"an odd size", 64, 0, 12},
		{"no size", 64, 0, 0},
		{"beyond the end", size, size - 16, 64},
	} {
		var l callLog
		l.head, l.tail = tc.head, tc.tail
		at := tc.tail % size
		if at+4 <= size {
			binary.NativeEndian.PutUint32(l.data[at:], tc.entry)
		}
		r := &logReader{}
		r.readLog(0, &l)
		if l.tail != tc.head {
			t.Errorf("%s: the tail is %d, want %d", tc.name, l.tail, tc.head)
		}
	}
}
