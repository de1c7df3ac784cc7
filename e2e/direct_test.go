package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
	"github.com/boxer-sandbox/boxer/trace"
)

// directServer echoes, and says what it sees of each connection.
const directServer = `
import socket, sys, threading
s = socket.create_server(("", 7), family=socket.AF_INET6, dualstack_ipv6=True) \
    if sys.argv[1] == "6" else socket.create_server(("", 7))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
print("listening", flush=True)
def serve(c, a):
    d = c.recv(100)
    print("accepted", a[0], a[1], *c.getpeername()[:2], *c.getsockname()[:2],
          c.family == s.family, c.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
          c.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), flush=True)
    while d:
        c.sendall(d)
        d = c.recv(65536)
    c.close()
while True:
    threading.Thread(target=serve, args=s.accept()).start()
`

// directClient connects for each line that it reads, sends the line and prints the
// answer. It has its socket in epoll before it connects if it is told to.
const directClient = `
import socket, sys, select
for line in sys.stdin:
    how, text = line.split()
    s = socket.socket()
    a = (socket.gethostbyname("db"), 7)
    if how == "epoll":
        e = select.epoll()
        e.register(s, select.EPOLLOUT | select.EPOLLET)
        e.poll(0) # what an unconnected socket has
        s.setblocking(False)
        r = s.connect_ex(a)
        assert r == 115, r
        events = e.poll(20)
        assert events == [(s.fileno(), select.EPOLLOUT)], events
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        s.setblocking(True)
    else:
        s.connect(a)
    s.sendall(text.encode())
    d = s.recv(100).decode()
    print("got", d, *s.getsockname(), *s.getpeername(), flush=True)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b""
    s.close()
`

// direct says line until the answer came in the clear, and returns what the client saw.
func (f *function) direct(client *proctest.Test, watch *spy, how, text string) []string {
	f.t.Helper()
	for range 50 {
		before := watch.count(text)
		client.Say(how + " " + text)
		got := client.Expect(`^got ` + text + ` (\S+) (\d+) (\S+) 7$`)
		if watch.count(text) > before {
			return got
		}
	}
	f.t.Fatalf("%q was never in the clear", text)
	return nil
}

func (s *spy) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[text]
}

func TestDirect(t *testing.T) {
	needBoxer(t)
	for _, tc := range []struct {
		name   string
		family string // of the server's socket
		lan    bool
	}{
		{"NATs", "4", false}, {"LAN", "4", true}, {"a dual-stack server", "6", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloudOf(t, "", "--data-path", "direct")
			var db, app *function
			if tc.lan {
				r, err := c.lab.Router(t.Context(), "router", natlab.NAT{})
				if err != nil {
					t.Fatal(err)
				}
				db = &function{cloud: c, t: t, host: must(t)(r.Host(t.Context(), "db")), name: "db"}
				app = &function{cloud: c, t: t, host: must(t)(r.Host(t.Context(), "app")), name: "app"}
			} else {
				db, app = c.function("db", punchable), c.function("app", punchable)
			}
			watch := &spy{seen: map[string]int{"blocking": 0, "epoll": 0}}
			capture, err := db.host.Capture(watch.look)
			if err != nil {
				t.Fatal(err)
			}
			defer capture.Close()
			server := db.start("python3", "-c", directServer, tc.family)
			server.Expect("^listening$")
			file := filepath.Join(tempDir(t), "trace.jsonl")
			app.flags = []string{"--trace", file}
			client := app.start("python3", "-c", directClient)
			for _, how := range []string{"blocking", "epoll"} {
				got := app.direct(client, watch, how, how)
				app.inPrefix("the client's addresses", got[1], got[3])
				seen := server.Expect(`^accepted (\S+) ` + got[2] +
					` (\S+) ` + got[2] + ` (\S+) 7 True 1 1$`)
				want := got[1]
				if tc.family == "6" {
					want = "::ffff:" + want
				}
				if seen[1] != want || seen[2] != want ||
					strings.TrimPrefix(seen[3], "::ffff:") != got[3] {
					t.Errorf("the client is %v, the server has seen %v", got, seen)
				}
			}
			app.eventually(`"direct": true`)
			client.Stdin.Close()
			client.Wait(proctest.Patience)
			connections := directTrace(t, file)
			if len(connections) < 2 {
				t.Fatalf("the trace has %d direct connections, want 2", len(connections))
			}
			for _, e := range connections {
				// the peer's FIN counts as one received
				if e.Sent == 0 || e.Received != e.Sent+1 || e.Peer != "db" {
					t.Errorf("the trace has %+v", e)
				}
			}
		})
	}
}

// directTrace returns the ends of direct connections in a trace.
func directTrace(t *testing.T, file string) (ends []*trace.Connection) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := trace.NewReader(f); ; {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			return ends
		} else if err != nil {
			t.Fatal(err)
		}
		if c, ok := e.(*trace.Connection); ok && c.State == trace.Closed && c.Path == "direct" {
			ends = append(ends, c)
		}
	}
}

// A node that refuses bytes in the clear gets none, whatever the network's owner allows.
func TestDirectRefused(t *testing.T) {
	needBoxer(t)
	for _, refuses := range []string{"db", "app"} {
		t.Run(refuses, func(t *testing.T) {
			const marker = "this-is-nobodys-business"
			c := newCloudOf(t, "", "--data-path", "direct")
			db, app := c.function("db", punchable), c.function("app", punchable)
			for _, f := range []*function{db, app} {
				if f.name == refuses {
					f.flags = []string{"--data-path", "quic"}
				}
			}
			watch := &spy{seen: map[string]int{marker: 0}}
			capture, err := db.host.Capture(watch.look)
			if err != nil {
				t.Fatal(err)
			}
			defer capture.Close()
			server := db.start("python3", "-c", directServer, "4")
			server.Expect("^listening$")
			client := app.start("python3", "-c", directClient)
			for range 10 {
				client.Say("blocking " + marker)
				client.Expect(`^got ` + marker)
			}
			client.Stdin.Close()
			client.Wait(proctest.Patience)
			if n := watch.count(marker); n > 0 {
				t.Errorf("%d packets have the bytes in the clear", n)
			}
		})
	}
}
