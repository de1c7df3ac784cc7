package e2e

import (
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/programs"
)

// TestLastWords has a program write and end at once: the kernel would deliver what it has written,
// and so must boxer, also to a server that keeps its end open.
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
		if took := time.Since(start); took > programs.Patience/2 {
			t.Errorf("the program's end took %v", took)
		}
		if got := server.Expect(`^got (\d+)$`)[1]; got != "20000000" {
			t.Errorf("of 20,000,000 bytes, %s arrived", got)
		}
	}
}
