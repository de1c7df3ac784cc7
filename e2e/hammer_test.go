package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestHammer has a program make calls with wild arguments from many threads: a connection
// of another of the node's processes goes on, and the supervisor keeps nothing
// afterwards.
func TestHammer(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "gcc")
	hub, app := pair(t, "hub", "app")
	hub.echo()
	app.reach("hub:7")
	seconds := choose(5, 60)
	p := app.start(program(t, "hammer"), "hub", "7", strconv.Itoa(seconds))
	p.Expect(`^ready$`)
	supervisor := supervisorOf(t, p)
	// A quarter of the descriptors that it may have is for flows to UDP peers.
	limitFiles(t, supervisor, hammeredFiles)
	before := held(t, supervisor)
	p.Say("")
	m := p.Expect(`^hammered (\d+) calls, (\d+) rounds(.*)$`)
	if atoi(t, m[1]) < 5000*seconds || atoi(t, m[2]) < 20*seconds || m[3] != "" {
		t.Errorf("it says %q", m[0])
	}
	// What ends takes a moment: relays end with their far sides.
	var after holding
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		if after = held(t, supervisor); after.files <= before.files+spareFiles {
			break
		}
	}
	t.Logf("%s; the supervisor held %v before and %v after: %s", m[0], before, after,
		files(t, supervisor))
	if after.files > before.files+spareFiles {
		t.Errorf("the supervisor holds %d descriptors, before it were %d:\n%s",
			after.files, before.files, files(t, supervisor))
	}
	if after.kilobytes > before.kilobytes+spareKilobytes {
		t.Errorf("the supervisor takes %d kB, before it were %d", after.kilobytes,
			before.kilobytes)
	}
	p.Say("")
	if status := p.Wait(proctest.Patience); status != 0 {
		t.Errorf("status %d", status)
	}
}

// What the supervisor may keep: pidfds of threads, flows to UDP peers and stand-ins for
// name servers are bounded caches, and the collector returns memory late.
const (
	hammeredFiles  = 4096
	spareFiles     = 64 + hammeredFiles/4 + 2*64
	spareKilobytes = 64 << 10
)

// holding is what a process has of the kernel.
type holding struct{ files, kilobytes int }

func held(t *testing.T, pid int) holding {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	h := holding{files: len(entries)}
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/status", pid))) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			h.kilobytes = atoi(t, strings.Fields(rest)[0])
		}
	}
	return h
}

// files lists a process's descriptors by what they are.
func files(t *testing.T, pid int) string {
	t.Helper()
	count := map[string]int{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		to, _ := os.Readlink(link)
		kind, _, _ := strings.Cut(to, "[")
		count[kind]++
	}
	return fmt.Sprint(count)
}

// supervisorOf returns the pid of the boxer that runs a program: the first boxer of the
// process tree.
func supervisorOf(t *testing.T, p *proctest.Test) int {
	t.Helper()
	pid := p.Cmd.Process.Pid
	for range 10 {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			t.Fatal(err)
		}
		if name, _, _ := bytes.Cut(line, []byte{0}); string(name) == boxer {
			return pid
		}
		children := strings.Fields(read(t, fmt.Sprintf("/proc/%d/task/%[1]d/children", pid)))
		if len(children) != 1 {
			break
		}
		pid = atoi(t, children[0])
	}
	t.Fatalf("no boxer below process %d", p.Cmd.Process.Pid)
	return 0
}
