package rewrite

import (
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// hammerFor is how long TestHammer runs, in seconds.
var hammerFor = flag.Int("rewrite.hammer", 3, "seconds that TestHammer runs")

// TestHammer answers calls of threads that are interrupted, forked, spawned and killed.
// Each answer has to be the call's own.
func TestHammer(t *testing.T) {
	for _, cc := range [][]string{{"gcc", "-O1", "-pthread"},
		{"musl-gcc", "-O1", "-static", "-pthread"}} {
		t.Run(cc[0], func(t *testing.T) {
			if _, err := exec.LookPath(cc[0]); err != nil {
				t.Skip(err)
			}
			path := filepath.Join(t.TempDir(), "hammer")
			if out, err := exec.Command(cc[0],
				append(cc[1:], "-o", path,
					"testdata/hammer.c")...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var n atomic.Int64
			l := newLab(t, allNetwork(), func(c *Call) {
				n.Add(1)
				if c.Nr() == unix.SYS_SOCKET { // through the supervisor
					fd, err := unix.Socket(c.Int(0), c.Int(1), c.Int(2))
					if err == nil {
						_, err = c.InstallFD(fd, c.Int(1)&unix.SOCK_CLOEXEC != 0)
						unix.Close(fd)
					}
					if err != nil {
						c.Fail(unix.EIO)
					}
					return
				}
				c.Continue()
			})
			l.run(t, path, fmt.Sprint(*hammerFor))
			t.Log(n.Load(), "calls")
			if n.Load() < 100 {
				t.Errorf("%d calls were answered", n.Load())
			}
		})
	}
}
