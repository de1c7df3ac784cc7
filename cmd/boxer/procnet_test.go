package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestProcNetRewritten holds that a rewritten program finds the node's interfaces in
// every folder "net" of /proc that is its own, with whatever flags it opens the files,
// and also without privileges: Python opens files with O_CLOEXEC.
func TestProcNetRewritten(t *testing.T) {
	const python = "/usr/bin/python3" // not a script that looks for one
	if _, err := exec.LookPath(python); err != nil {
		t.Skip(err)
	}
	const program = `
import os
pid = os.getpid()
for path in ("/proc/net", "/proc/self/net", "/proc/thread-self/net", f"/proc/{pid}/net",
        f"/proc/{pid}/task/{pid}/net", f"/proc/{os.getppid()}/net"):
    with open(path + "/dev") as f:
        print(path.strip("/0123456789"), *sorted(l.split(":")[0].strip() for l in f.readlines()[2:]))
print(open("/proc/self/net/unix").readline().split()[0], open("/proc/self/comm").read().strip())
try:
    os.open("/proc/self/net/dev", os.O_WRONLY)
except OSError as e:
    print(e.strerror)
child = os.popen("cut -d: -f1 </proc/self/net/dev | tail -n +3 | tr -d ' ' | LC_ALL=C sort | xargs").read()
print("child", child.strip())`
	r := finish(t, exec.Command(boxer, "run", "--interposer", "rewrite", "--", python, "-c",
		program))
	for line := range strings.Lines(r.out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "proc"), strings.HasPrefix(line, "child"):
			if !strings.HasSuffix(line, " boxer0 lo") {
				t.Errorf("%s: want the interfaces boxer0 and lo", line)
			}
		case line != "Num python3" && line != "Permission denied":
			t.Errorf("unexpected: %s", line)
		}
	}
	if n := strings.Count(r.out, "\n"); n != 9 || r.status != 0 {
		t.Errorf("status %d, %d lines, want 0 and 9:\n%s%s", r.status, n, r.out, r.err)
	}
}
