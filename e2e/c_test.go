package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestMusl runs a static binary with another libc, whose resolver and start-up differ
// from glibc's.
func TestMusl(t *testing.T) {
	hub, app := pair(t, "hub", "app")
	tcp := program(t, "tcp")
	server := hub.start(tcp, "server", "9000")
	server.Expect(`^listening$`)
	const size = 20 << 20
	out := app.run(tcp, "client", "hub", "9000", fmt.Sprint(size))
	m := regexp.MustCompile(`^peer (\S+) 9000 self (\S+) \d+ echoed 20971520\n$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the client says %q", out)
	}
	s := server.Expect(`^client (\S+) peer (\S+) \d+ self (\S+) 9000 $`)
	own := hub.address().String()
	if m[1] != own || s[3] != own {
		t.Errorf("the server is %s to the client and %s to itself, want %s", m[1], s[3], own)
	}
	if m[2] != s[1] || m[2] != s[2] || m[2] == own {
		t.Errorf("the client is %s to itself, %s by accept and %s by getpeername", m[2],
			s[1], s[2])
	}
	app.inPrefix("the client's address", m[2])
}

// TestPrefork has connections that stay, so that each worker of the server must accept
// some.
func TestPrefork(t *testing.T) {
	for _, kind := range []string{"block", "poll"} {
		t.Run(kind, func(t *testing.T) {
			const workers = 4
			hub, app := pair(t, "hub", "app")
			server := hub.start(program(t, "prefork"), "9000", fmt.Sprint(workers), kind)
			server.Expect(`^listening$`)
			// A worker serves one client at a time: as many clients at once need as many
			// workers.
			out := app.python(`
import socket, sys
conns = [socket.create_connection(("hub", 9000), 20) for _ in range(int(sys.argv[1]))]
for c in conns:
    print(c.makefile().readline(), end="")
for i, c in enumerate(conns):
    c.sendall(b"text %d" % i)
    assert c.recv(100) == b"text %d" % i
`, fmt.Sprint(workers))
			lines := strings.Split(strings.TrimSpace(out), "\n")
			slices.Sort(lines)
			for i := range workers {
				if len(lines) != workers ||
					!strings.HasPrefix(lines[i], fmt.Sprintf("worker %d pid ", i)) {
					t.Fatalf("the clients met\n%s", out)
				}
			}
		})
	}
}

// TestSpawn connects from children of every kind.
func TestSpawn(t *testing.T) {
	hub, app := pair(t, "hub", "app")
	hub.echo()
	app.reach("hub:7")
	want := "self ok\nfork ok\nexec ok\nvfork ok\nposix_spawn ok\norphan ok\ninherited ok\nafter ok\n"
	if out := app.run(program(t, "spawn"), "hub", "7"); out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

// TestThreads connects from many threads of one process at once.
func TestThreads(t *testing.T) {
	hub, app := pair(t, "hub", "app")
	hub.echo()
	app.reach("hub:7")
	if out := app.runFor(2*proctest.Patience, program(t, "threads"), "hub", "7", "32",
		"20"); out != "640 connections ok\n" {
		t.Errorf("got %q", out)
	}
}

// TestProgramsAreWhatTheySay makes sure that the static programs are static.
func TestProgramsAreWhatTheySay(t *testing.T) {
	for _, name := range []string{"probe", "gohttp", "tcp"} {
		out, err := exec.Command("ldd", program(t, name)).CombinedOutput()
		if err == nil && !strings.Contains(string(out), "statically linked") {
			t.Errorf("%s is not static:\n%s", name, out)
		}
	}
}
