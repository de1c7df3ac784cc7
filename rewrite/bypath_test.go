package rewrite

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOtherNetwork executes a program in another network namespace, where the abstract
// name of the control socket is not known.
func TestOtherNetwork(t *testing.T) {
	if out, err := exec.Command("unshare", "-r", "-n",
		"true").CombinedOutput(); err != nil {
		t.Skipf("%v\n%s", err, out)
	}
	t.Setenv("TMPDIR", t.TempDir())
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(os.TempDir(), folderPrefix+itoa(int64(dead.Process.Pid))+"-1")
	if err := os.Mkdir(left, 0o711); err != nil {
		t.Fatal(err)
	}
	var folder string
	t.Cleanup(func() { // after the lab's
		if _, err := os.Stat(folder); folder != "" && err == nil {
			t.Errorf("%s is left", folder)
		}
	})
	var n atomic.Int64
	l := newLab(t, []Rule{{Nr: unix.SYS_UNAME}}, func(c *Call) {
		n.Add(1)
		c.Continue()
	})
	if _, err := os.Stat(left); err == nil {
		t.Error("the folder of a supervisor that was killed is there")
	}
	const program = "uname -s; exec sh -c 'uname -s'"
	if got := l.run(t, "unshare", "-r", "-n", "sh", "-c",
		program); got != "Linux\nLinux" {
		t.Errorf("got %q", got)
	}
	if n.Load() < 2 {
		t.Errorf("%d calls of uname were taken, want 2", n.Load())
	}
	if folder = l.s.folder; folder == "" {
		t.Error("there is no folder")
	}
}
