package rewrite

import (
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignals interrupts calls that wait in the supervisor.
func TestSignals(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "signals")
	if out, err := exec.Command("gcc", "-O1", "-o", path,
		"testdata/signals.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var waiting sync.WaitGroup
	l := newLab(t, []Rule{{Nr: unix.SYS_LISTEN}, {Nr: unix.SYS_UNAME}}, func(c *Call) {
		if c.Nr() == unix.SYS_UNAME {
			c.Continue()
			return
		}
		kept := c.Keep()
		waiting.Go(func() {
			time.Sleep(500 * time.Millisecond) // the time that the program counts on
			kept.Return(7)                     // fails if the call has ended
		})
	})
	want := `SA_RESTART: 7 -, handled 1
no SA_RESTART: -1 EINTR, handled 1
handler that calls: 7 -, handled 1
inner: 0 Linux
handler on its own stack: 7 -, handled 1
left, handled 1
left, handled 1
left, handled 1
ignored: 7 -, handled 0
uname: 0`
	if got := l.run(t, path); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	waiting.Wait()
}
