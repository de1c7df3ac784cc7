package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestLastWords has a program write and end at once: the kernel would deliver what it has
// written, and so must boxer, also to a server that keeps its end open.
func TestLastWords(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3")
	const serve = `
import socket
l = socket.create_server(("0.0.0.0", 7008))
print("listening", flush=True)
kept = []
while True:
    c, _ = l.accept()
    kept.append(c)  # never closed
    n = 0
    while b := c.recv(65536):
        n += len(b)
    print("got", n, flush=True)
`
	const say = `
import socket
s = socket.create_connection(("hub", 7008))
s.sendall(b"x" * 20_000_000)
`
	hub, app := pair(t, "hub", "app")
	server := hub.start("/usr/bin/python3", "-c", serve)
	server.Expect(`^listening$`)
	for range 3 {
		start := time.Now()
		app.python(say)
		if took := time.Since(start); took > proctest.Patience/2 {
			t.Errorf("the program's end took %v", took)
		}
		if got := server.Expect(`^got (\d+)$`)[1]; got != "20000000" {
			t.Errorf("of 20,000,000 bytes, %s arrived", got)
		}
	}
}

// lateReader accepts one connection and reads 1 MB of it for each line of input, or the
// rest. sendAll writes as much as it is told, and ends.
const (
	lateReader = `
import socket, sys, time
l = socket.create_server(("0.0.0.0", 7008))
print("listening", flush=True)
c, _ = l.accept()
n, reading = 0, True
for line in sys.stdin:
    for _ in range(int(line)):
        while reading and n % 1_000_000 < 999_999:
            b = c.recv(min(65536, 999_999 - n % 1_000_000))
            reading = len(b) > 0
            n += len(b)
            if not reading: break
        if reading:
            n += len(c.recv(1))
        time.sleep(0.5)  # that it is slow is what the test is about
    print("got", n, flush=True)
`
	sendAll = `
import socket, sys
s = socket.create_connection(("hub", 7008))
s.sendall(b"x" * int(sys.argv[1]))
`
)

// TestSlowReader has a program end while its peer still reads what it wrote, for some
// time after the program's node has left the network.
func TestSlowReader(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "/usr/bin/python3")
	hub, app := pair(t, "hub", "app")
	server := hub.start("/usr/bin/python3", "-c", lateReader)
	server.Expect(`^listening$`)
	client := app.start("/usr/bin/python3", "-c", sendAll, "20000000")
	server.Say("25") // 1 MB each half of a second
	if status := client.Wait(proctest.Patience); status != 0 {
		t.Errorf("status %d: %s", status, client.Err)
	}
	if got := server.Expect(`^got (\d+)$`)[1]; got != "20000000" {
		t.Errorf("of 20,000,000 bytes, %s arrived", got)
	}
}

// TestDrainBound has a peer that reads nothing: --drain bounds how long boxer stays, and
// nobody can miss that something was lost.
func TestDrainBound(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "/usr/bin/python3")
	hub, app := pair(t, "hub", "app")
	for _, tc := range []struct {
		drain  string
		status int
		says   string
	}{
		{"1s", 125, "boxer: the program has ended, but boxer could not deliver all that it wrote (1 connections): --drain 1s was too short"},
		{"0s", 0, ""},
	} {
		server := hub.start("/usr/bin/python3", "-c", lateReader)
		server.Expect(`^listening$`)
		// What the kernel's buffers and the windows do not hold keeps sendall(3) waiting,
		// so a child of the program has the socket when the program ends.
		cmd := app.host.Command(t.Context(), boxer, "run", "--drain", tc.drain, "--name",
			"app", "--",
			"/usr/bin/python3", "-c", sendAll, "8000000")
		cmd.Env = append(os.Environ(), "BOXER_JOIN="+app.url)
		client := proctest.ForTest(t, "app", cmd)
		if status := client.Wait(proctest.Patience); status != tc.status ||
			!strings.Contains(client.Err.String(), tc.says) {
			t.Errorf("--drain %s: status %d, stderr %q; want %d, %q", tc.drain, status,
				client.Err, tc.status, tc.says)
		}
		server.Stop(syscall.SIGTERM)
	}
}
