package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestGo runs a static binary, without libc: resolver, poller and runtime are Go's own.
func TestGo(t *testing.T) {
	web, app := pair(t, "web", "app")
	server := web.start(program(t, "gohttp"), "serve", ":8080")
	if l := server.Expect(`^listening (\S+)$`); l[1] != "[::]:8080" {
		t.Errorf("the server listens on %s, want [::]:8080", l[1])
	}
	app.reach("web:8080")
	out := app.run(program(t, "gohttp"), "get", "web:8080", choose("50", "500"))
	if !strings.HasSuffix(out, "\nok\n") {
		t.Errorf("gohttp get says\n%s", out)
	}
	seen := regexp.MustCompile(`(?m)^you are ([0-9.]+):\d+, this is ([0-9.]+):8080$`).FindAllStringSubmatch(out, -1)
	if want := 2 * choose(50, 500); len(seen) != want {
		t.Fatalf("%d answers, want %d:\n%s", len(seen), want, out)
	}
	own := web.address().String()
	for _, s := range seen {
		web.inPrefix("the client's address", s[1])
		if s[2] != own || s[1] == own {
			t.Fatalf("the server, whose address is %s, says %q", own, s[0])
		}
	}
}

// TestPythonHTTP runs the server that everybody starts by hand, one thread for each
// client.
func TestPythonHTTP(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3", "curl")
	web, app := pair(t, "web", "app")
	dir := tempDir(t)
	randomFile(t, filepath.Join(dir, "file"), 5<<20)
	server := web.start("/usr/bin/python3", "-u", "-m", "http.server", "8000", "--bind",
		"0.0.0.0", "--directory", dir)
	server.Expect(`^Serving HTTP on 0\.0\.0\.0 port 8000`)
	to := tempDir(t)
	out := app.run("curl", "--fail", "--silent", "--show-error", "--parallel",
		"--write-out", "%{http_code}\n",
		"http://web:8000/file", "--output", filepath.Join(to, "a"),
		"http://web:8000/file", "--output", filepath.Join(to, "b"))
	if out != "200\n200\n" {
		t.Errorf("curl says %q", out)
	}
	want, _ := checksum(t, filepath.Join(dir, "file"))
	for _, name := range []string{"a", "b"} {
		if got, size := checksum(t, filepath.Join(to, name)); got != want {
			t.Errorf("%s: %d bytes with another checksum", name, size)
		}
	}
	web.inPrefix("the client in the server's log", server.ExpectLog(`^(\S+) - - .*"GET /file HTTP/1.1" 200`)[1])
}

// TestPythonStreams opens hundreds of connections at once from one event loop into
// another.
func TestPythonStreams(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3")
	const count = 500
	hub, app := pair(t, "hub", "app")
	server := hub.start("/usr/bin/python3", script(t, "python/streams.py"), "server", "9000")
	server.Expect(`^listening$`)
	out := app.runFor(2*proctest.Patience, "/usr/bin/python3",
		script(t, "python/streams.py"), "client", "hub", "9000", fmt.Sprint(count))
	if want := fmt.Sprintf("%d connections ok\n", count); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	server.Expect(fmt.Sprintf(`^at once %d$`, count))
}

// TestNode runs Node's net module: libuv, dual-stack listener, half-open sockets.
func TestNode(t *testing.T) {
	natlab.NeedCommands(t, "node")
	hub, app := pair(t, "hub", "app")
	server := hub.start("node", script(t, "node/net.js"), "server", "9000")
	server.Expect(`^listening ::$`)
	out := app.run("node", script(t, "node/net.js"), "client", "hub", "9000", "100")
	for _, want := range []string{"100 connections ok\n", "refused ECONNREFUSED\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the client does not say %q:\n%s", want, out)
		}
	}
	m := server.Expect(`^client (\S+) on (\S+)$`)
	hub.inPrefix("the client's address", m[1])
	hub.isAddress("the server's address", m[2])
}

// TestJava runs non-blocking selectors on both sides, and a server with blocking threads.
func TestJava(t *testing.T) {
	natlab.NeedCommands(t, "java")
	classes := filepath.Dir(program(t, "Selector.class"))
	// The client compiler alone: its programs are over before the other one is worth it.
	java := []string{"-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp",
		classes, "Selector"}
	for _, kind := range []string{"server", "blocking"} {
		t.Run(kind, func(t *testing.T) {
			hub, app := pair(t, "hub", "app")
			server := hub.start("java", append(java, kind, "9000")...)
			server.Expect(`^listening `)
			out := app.run("java", append(java, "client", "hub", "9000", "100")...)
			if want := "100 connections ok\n"; out != want {
				t.Errorf("got %q, want %q", out, want)
			}
			m := server.Expect(`^client /(\S+):\d+ on /(\S+):9000$`)
			hub.inPrefix("the client's address", m[1])
			hub.isAddress("the server's address", m[2])
		})
	}
}
