package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestIdleConnections has thousands of connections on which nothing happens, and says
// what each costs the two supervisors. It fails if they keep a buffer each or wake
// anybody, and if something of them is left in the end.
func TestIdleConnections(t *testing.T) {
	needBoxer(t)
	count := choose(2000, 10000)
	db, app := pair(t, "db", "app")
	server := db.start("/usr/bin/python3", "-c", `
import socket, threading
l = socket.create_server(("", 7), backlog=1024)
print("listening", flush=True)
conns = []
def close():
    input()
    for c in conns: c.close()
threading.Thread(target=close).start()
while True:
    c, _ = l.accept()
    c.sendall(c.recv(1))
    conns.append(c)
    if len(conns) % 1000 == 0: print("accepted", len(conns), flush=True)`)
	server.Expect(`^listening$`)
	client := app.start("/usr/bin/python3", "-c", `
import socket, sys
addr = socket.getaddrinfo("db", 7, socket.AF_INET, socket.SOCK_STREAM)[0][4]
conns = []
for line in sys.stdin:
    for _ in range(int(line)):
        s = socket.create_connection(addr)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        conns.append(s)
    print("holding", len(conns), flush=True)
    if line == "0\n":
        for s in conns: s.close()
        conns = []`)
	const warm = 100
	client.Say(fmt.Sprint(warm)) // the path is there, the runtime's pools are filled
	client.Expect(fmt.Sprintf(`^holding %d$`, warm))
	ends := []*proctest.Test{server, client}
	var before, holding [2]usage
	for i, p := range ends {
		before[i] = usageOf(t, p)
	}
	client.Say(fmt.Sprint(count))
	client.Expect(fmt.Sprintf(`^holding %d$`, warm+count))

	// until what opening them has set off is over; and watched
	const quiet, watched = 2 * time.Second, 3 * time.Second
	time.Sleep(quiet)
	var switches, ticks [2]int
	for i, p := range ends {
		holding[i] = usageOf(t, p)
		switches[i], ticks[i] = wakeUps(t, p), cpuTicks(t, p)
	}
	time.Sleep(watched)
	for i, p := range ends {
		each := float64(holding[i].resident-before[i].resident) / float64(count)
		woken := wakeUps(t, p) - switches[i]
		t.Logf("%s: %d idle connections, %.1f KiB each; in %v %d wake-ups, %d ms of processor time",
			p.Label, count, each, watched, woken, 10*(cpuTicks(t, p)-ticks[i]))
		const mostEach = 64 // KiB: less than a buffer
		if each > mostEach {
			t.Errorf("%s holds %.1f KiB for each idle connection", p.Label, each)
		}
		if woken > count/4 {
			t.Errorf("%s wakes %d times in %v with nothing to do", p.Label, woken, watched)
		}
	}
	client.Say("0")
	server.Say("")
	for i, p := range ends {
		const more = 8 // files of the runtime's own
		limit := before[i].files - warm + more
		if after := settled(t, p, limit); after.files > limit {
			t.Errorf("%s: %v before, with %d connections; %v after all were closed",
				p.Label, before[i], warm, after)
		}
	}
}

var voluntary = regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s+(\d+)`)

// wakeUps returns how often the threads of a program, under boxer its supervisor's, have
// slept.
func wakeUps(t *testing.T, p *proctest.Test) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.Cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads of %s: %v", p.Label, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		if m := voluntary.FindSubmatch(b); m != nil {
			n += atoi(t, string(m[1]))
		}
	}
	return n
}

// cpuTicks returns the processor time that a program, under boxer its supervisor, has
// taken, in units of 10 ms (proc_pid_stat(5)).
func cpuTicks(t *testing.T, p *proctest.Test) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// field 3, the state, is fields[0]
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	return atoi(t, string(fields[11])) + atoi(t, string(fields[12]))
}
