package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// What the probe says at the end of a connection.
var (
	lostLine  = regexp.MustCompile(`(?m)^lost: (\S+)$`)
	resetLine = regexp.MustCompile(`(?m)^lost \S+ ECONNRESET$`)
)

// processes returns the directories below /proc of the processes in the function's
// network namespace.
func (f *function) processes() []string {
	f.t.Helper()
	var own string
	err := f.host.Do(func() (err error) {
		own, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	})
	dirs, globErr := filepath.Glob("/proc/[0-9]*")
	if err != nil || globErr != nil {
		f.t.Fatal(err, globErr)
	}
	var found []string
	for _, dir := range dirs {
		// no error: it has not ended
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil && ns == own {
			found = append(found, dir)
		}
	}
	return found
}

// expectNoProcess waits for the end of every process in the function.
func (f *function) expectNoProcess(limit time.Duration) {
	f.t.Helper()
	const pause = 20 * time.Millisecond // nobody tells when somebody else's process ends
	var left []string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pause) {
		if left = f.processes(); len(left) == 0 {
			return
		}
	}
	for _, dir := range left {
		line, _ := os.ReadFile(dir + "/cmdline")
		f.t.Errorf("%v after the kill there is still %s: %s", limit, dir,
			strings.ReplaceAll(string(line), "\x00", " "))
	}
}

// usage is what a process holds.
type usage struct {
	files, threads int
	resident       int // kB
}

func (u usage) String() string {
	return fmt.Sprintf("%d files, %d threads, %d kB resident", u.files, u.threads,
		u.resident)
}

// usageOf returns what the program, under boxer its supervisor, holds at the moment.
func usageOf(t *testing.T, p *proctest.Test) usage {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", p.Cmd.Process.Pid)
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	status := read(t, dir+"/status")
	number := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindStringSubmatch(status)
		if m == nil {
			t.Fatalf("%s/status has no %s", dir, name)
		}
		return atoi(t, m[1])
	}
	return usage{len(files), number("Threads"), number("VmRSS")}
}

// settled returns the usage once the number of files has come down to limit, or, if it
// does not, after the time that closing takes.
func settled(t *testing.T, p *proctest.Test, limit int) usage {
	t.Helper()
	const wait, pause = 10 * time.Second, 50 * time.Millisecond
	u := usageOf(t, p)
	for end := time.Now().Add(wait); u.files > limit &&
		time.Now().Before(end); u = usageOf(t, p) {
		time.Sleep(pause)
	}
	return u
}

// expectNoGrowth compares the usage with what it was before.
func expectNoGrowth(t *testing.T, p *proctest.Test, before usage) {
	t.Helper()
	const (
		moreFiles   = 4 // of the runtime's own
		moreThreads = 8 // the runtime keeps those that were needed at once
		// kB: the collectors' slack; 1,000 leaked connections would be more
		moreMemory = 16e3
	)
	after := settled(t, p, before.files+moreFiles)
	t.Logf("%s: %v before, %v after", p.Label, before, after)
	if after.files > before.files+moreFiles ||
		after.threads > before.threads+moreThreads ||
		after.resident > before.resident+moreMemory {
		t.Errorf("%s has grown: %v before, %v after", p.Label, before, after)
	}
}

// TestUsage makes sure that a leak would be seen.
func TestUsage(t *testing.T) {
	f := newCloud(t).function("app", punchable)
	cmd := f.host.Command(t.Context(), "/usr/bin/python3", "-c", `
print("ready", flush=True); input()
files = [open("/dev/null") for _ in range(100)]
print("ready", flush=True); input()`)
	p := proctest.ForTest(t, "python", cmd)
	p.Expect(`^ready$`)
	before := usageOf(t, p)
	p.Say("")
	p.Expect(`^ready$`)
	if after := usageOf(t, p); after.files != before.files+100 {
		t.Errorf("%v before, %v after 100 files more", before, after)
	}
}
