package rewrite

import (
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcNet takes the opens of paths that name files of folders "net" of /proc, and no
// others. Paths may lie anywhere in memory, or beyond it.
func TestProcNet(t *testing.T) {
	l := newLab(t, []Rule{{Nr: unix.SYS_OPENAT, If: []Condition{
		{Arg: 2, Op: MaskedEqual, Mask: unix.O_ACCMODE, Value: unix.O_RDONLY},
		{Arg: 1, Op: ProcNet}}}}, func(c *Call) { c.Fail(unix.ENOTUNIQ) })
	program := filepath.Join(t.TempDir(), "paths")
	out, err := exec.Command("gcc", "-D_GNU_SOURCE", "-o", program,
		"testdata/paths.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const want = `/proc/self/net/dev: ENOTUNIQ
across pages: ENOTUNIQ
/proc/net/dev: ENOTUNIQ
across pages: ENOTUNIQ
/proc/1/task/1/net/arp: ENOTUNIQ
across pages: ENOTUNIQ
/proc/self/status: opened
across pages: opened
/proc/self/network/: ENOENT
across pages: ENOENT
/proc: opened
across pages: opened
/proc/: opened
across pages: opened
/dev/null: opened
across pages: opened
/: opened
across pages: opened
: ENOENT
across pages: ENOENT
no end: EFAULT
no end after net/: ENOTUNIQ
no memory: EFAULT
null: EFAULT
high: EFAULT
written: EACCES`
	if got := l.run(t, program); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
