package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// administer runs a command of the coordinator's operator.
func (c *cloud) administer(args ...string) string {
	c.t.Helper()
	args = append(append([]string{"coordinator"}, args...), "--state",
		c.joinFile+".state")
	out, err := exec.CommandContext(context.Background(), boxer, args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("boxer %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// apply puts a policy into effect.
func (c *cloud) apply(text string) {
	c.t.Helper()
	path := filepath.Join(tempDir(c.t), "policy")
	write(c.t, path, text)
	c.administer("policy", "apply", path)
}

// serveTwo listens on two TCP ports and two UDP ports, and echoes.
const serveTwo = `
import socket, threading
def tcp(port):
    l = socket.create_server(("", port))
    def one(c):
        while True:
            try:
                b = c.recv(64)
            except ConnectionResetError:
                print("reset", flush=True)
                break
            if not b: break
            c.sendall(b)
    while True: threading.Thread(target=one, args=[l.accept()[0]]).start()
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    while True:
        b, peer = s.recvfrom(64)
        s.sendto(b, peer)
for f, p in (tcp, 5432), (tcp, 5433), (udp, 53), (udp, 54):
    threading.Thread(target=f, args=[p]).start()
import time; time.sleep(0.2)
print("ready", flush=True)
`

// tryAll says what comes of a connection, or a datagram, to each port of a node.
const tryAll = `
import errno, socket, sys
name = sys.argv[1]
def tcp(port):
    with socket.create_connection((name, port), 20) as s:
        s.sendall(b"x")
        return s.recv(1)
def udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(20)
        s.connect((name, port))
        s.send(b"x")
        return s.recv(1)
for f, p in (tcp, 5432), (tcp, 5433), (udp, 53), (udp, 54):
    try:
        f(p)
        print(f.__name__, p, "ok")
    except socket.gaierror:
        print(f.__name__, p, "no such name")
    except OSError as e:
        print(f.__name__, p, errno.errorcode[e.errno])
`

// TestPolicy holds real programs to a policy: TCP and UDP, by name and tag, on nodes that
// did not know it before, and for connections that were made before.
func TestPolicy(t *testing.T) {
	if native {
		t.Skip("policies are boxer's")
	}
	natlab.NeedCommands(t, "/usr/bin/python3")
	c := newCloud(t)
	db, web := c.function("db", punchable), c.function("web", punchable)
	server := db.start("/usr/bin/python3", "-c", serveTwo)
	server.Expect("^ready$")
	try := func(f *function, want ...string) {
		t.Helper()
		got := strings.TrimSpace(f.python(tryAll, "db"))
		if got != strings.Join(want, "\n") {
			t.Errorf("%s gets\n%s\nwant\n%s", f.name, got, strings.Join(want, "\n"))
		}
	}
	try(web, "tcp 5432 ok", "tcp 5433 ok", "udp 53 ok", "udp 54 ok")
	held := web.named("holder").start("/usr/bin/python3", "-c", `
import socket
s = socket.create_connection(("db", 5432), 20)
print("connected", flush=True)
try: print("read", s.recv(1))
except ConnectionResetError: print("reset")
`)
	held.Expect("^connected$")

	c.apply("allow web to db:5432,53/udp\nallow tag:job to db:5433\n")
	held.Expect("^reset$")
	server.Expect("^reset$")
	try(web, "tcp 5432 ok", "tcp 5433 EACCES", "udp 53 ok", "udp 54 ECONNREFUSED")
	none := []string{"tcp 5432 no such name", "tcp 5433 no such name",
		"udp 53 no such name",
		"udp 54 no such name"}
	try(web.named("other"), none...)
	// A node on db's own host gets no further.
	try(db.named("other"), none...)
	job := web.named("worker")
	job.cloud = &cloud{}
	*job.cloud = *c
	job.cloud.url = strings.TrimSpace(c.administer("token", "create", "jobs", "--tag", "job"))
	try(job, "tcp 5432 EACCES", "tcp 5433 ok", "udp 53 ECONNREFUSED",
		"udp 54 ECONNREFUSED")

	c.apply("allow all\n")
	try(web.named("other"), "tcp 5432 ok", "tcp 5433 ok", "udp 53 ok", "udp 54 ok")
}

// TestListen narrows what a node offers, without a policy.
func TestListen(t *testing.T) {
	if native {
		t.Skip("--listen is boxer's")
	}
	natlab.NeedCommands(t, "/usr/bin/python3")
	db, web := pair(t, "db", "web")
	db.flags = append(db.flags, "--listen", "5433,50-53/udp")
	db.start("/usr/bin/python3", "-c", serveTwo).Expect("^ready$")
	want := "tcp 5432 ECONNREFUSED\ntcp 5433 ok\nudp 53 ok\nudp 54 ECONNREFUSED"
	for _, from := range []*function{web, db.named("neighbour")} {
		if got := strings.TrimSpace(from.python(tryAll, "db")); got != want {
			t.Errorf("%s gets\n%s\nwant\n%s", from.name, got, want)
		}
	}
}

// TestEvict removes a node whose program holds a connection, and a program that serves.
func TestEvict(t *testing.T) {
	if native {
		t.Skip("eviction is boxer's")
	}
	natlab.NeedCommands(t, "/usr/bin/python3")
	db, web := pair(t, "db", "web")
	server := db.start("/usr/bin/python3", "-c", serveTwo)
	server.Expect("^ready$")
	held := web.start("/usr/bin/python3", "-c", `
import errno, socket
s = socket.create_connection(("db", 5432), 20)
at = s.getpeername()
print("connected", flush=True)
try: print("read", s.recv(1), flush=True)
except ConnectionResetError: print("reset", flush=True)
try: socket.create_connection(at, 20)
except OSError as e: print("again", errno.errorcode[e.errno])
`)
	held.Expect("^connected$")
	if out := web.administer("evict", "web"); !strings.HasPrefix(out,
		"evicted web, node ") {
		t.Errorf("evict says %q", out)
	}
	held.Expect("^reset$")
	server.Expect("^reset$")
	held.Expect("^again EHOSTUNREACH$")
	if status := held.Wait(proctest.Patience); status != 0 {
		t.Errorf("the program ended with status %d", status)
	}
}
