package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// echoes fails the test unless an echo server is at target, seen from the function's host
// without boxer.
func (f *function) echoes(target string) {
	f.t.Helper()
	client := proctest.ForTest(f.t, "outside",
		f.host.Command(context.Background(), program(f.t, "probe"), "hold", target, "10"))
	client.Expect(`^holding 10$`)
	client.Say("hello")
	client.Expect(`^echoed hello 10$`)
	client.Stdin.Close()
	client.Wait(proctest.Patience)
}

// TestForward goes from a machine into the network.
func TestForward(t *testing.T) {
	needBoxer(t)
	db, laptop := pair(t, "db", "laptop")
	server := db.echo()
	cmd := laptop.host.Command(context.Background(), boxer, "forward", "127.0.0.1:8000", "db:7")
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+laptop.url)
	proctest.ForTest(t, "forward", cmd)
	ready := proctest.ForTest(t, "ready",
		laptop.host.Command(context.Background(), program(t, "probe"), "wait",
			"127.0.0.1:8000"))
	if status := ready.Wait(proctest.Patience); status != 0 {
		t.Fatalf("nobody listens: status %d", status)
	}
	laptop.echoes("127.0.0.1:8000")
	laptop.inPrefix("the client in the server's output", server.Expect(`^accepted (\S+):\d+ on `)[1])
}

// TestPublish has a port of a node on its host.
func TestPublish(t *testing.T) {
	needBoxer(t)
	db := newCloud(t).function("db", punchable)
	cmd := db.command(program(t, "probe"), "echo", "0.0.0.0:7")
	cmd.Args = insertAfter(cmd.Args, "run", "--publish", "127.0.0.1:8000:7")
	proctest.ForTest(t, "db", cmd).Expect(`^listening`)
	db.echoes("127.0.0.1:8000")
}

// TestUnprivileged runs a server on a port below 1024, and a client, as users who may do
// nothing.
func TestUnprivileged(t *testing.T) {
	needBoxer(t) // bare, the port would be refused
	natlab.NeedUsers(t)
	web, app := pair(t, "web", "app")
	dir := tempDir(t)
	chown(t, dir, "nobody")
	cmd := web.as("nobody").command("/usr/bin/python3", "-u", "-m", "http.server", "80",
		"--directory", dir)
	server := proctest.ForTest(t, "web", cmd)
	server.Expect(`^Serving HTTP on 0\.0\.0\.0 port 80 `)
	out := app.as("nobody").run("/usr/bin/python3", "-c", `
import http.client, select, socket
c = http.client.HTTPConnection("web", 80, 20)
c.connect()
port = c.sock.getpeername()[1]
c.request("GET", "/")
print(c.getresponse().status, port)
s = socket.socket()
s.setblocking(False)
s.connect_ex(("web", 80))
select.select([], [s], [], 20)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))`)
	if out != "200 80\n0\n" {
		t.Errorf("got %q", out)
	}
}
