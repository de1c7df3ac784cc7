package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestUDP sends datagrams of all sizes both ways, and to a port that is closed.
func TestUDP(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3")
	echo, app := pair(t, "echo", "app")
	server := echo.start("/usr/bin/python3", script(t, "python/udp.py"), "server", "7007")
	server.Expect(`^listening on 0\.0\.0\.0:7007$`)
	out := app.runFor(2*proctest.Patience, "/usr/bin/python3", script(t, "python/udp.py"),
		"client", "echo", "7007")
	var from, to string
	if _, err := fmt.Sscanf(out, "echoed 6 sizes from %s to %s\n", &from,
		&to); err != nil {
		t.Fatalf("the client says %q", out)
	}
	app.inPrefix("the client's own address", from)
	app.inPrefix("the server's address", to)
	if !strings.HasSuffix(out, "\nclosed port: ECONNREFUSED\n") {
		t.Errorf("the client says %q", out)
	}
	if got := server.Expect(`^1200 bytes from (\S+)$`)[1]; got != from {
		t.Errorf("the server sees %s, the client is %s", got, from)
	}
}

// TestUDPOutside sends from a socket that is bound to a port, and to nodes as well, to a
// host that is no node.
func TestUDPOutside(t *testing.T) {
	if native {
		t.Skip("there is no outside")
	}
	c := newCloud(t)
	app := c.function("app", punchable)
	echo, err := c.public.ListenPacket(t.Context(), "udp4",
		netip.AddrPortFrom(c.public.Addr(), 7007).String())
	if err != nil {
		t.Fatal(err)
	}
	var answering sync.WaitGroup
	t.Cleanup(func() {
		echo.Close()
		answering.Wait()
	})
	answering.Go(func() {
		b := make([]byte, 64)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			echo.WriteTo(append([]byte("re: "), b[:n]...), from)
		}
	})
	out := app.python(`
import socket, sys
outside = (sys.argv[1], 7007)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5353))
s.settimeout(20)
s.sendto(b"unconnected", outside)
data, peer = s.recvfrom(64)
assert peer == outside, peer
print(data.decode())
s.connect(outside)
assert s.getpeername() == outside, s.getpeername()
s.send(b"connected")
print(s.recv(64).decode())
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.bind(("::", 5354))
six.settimeout(20)
six.sendto(b"mapped", ("::ffff:" + outside[0], 7007))
data, peer = six.recvfrom(64)
assert peer[:2] == ("::ffff:" + outside[0], 7007), peer
print(data.decode())
`, c.public.Addr().String())
	if want := "re: unconnected\nre: connected\nre: mapped\n"; out != want {
		t.Errorf("the program says %q, want %q", out, want)
	}
}

// TestPing pings nodes and other hosts, as users with and without privileges. The lab's
// hosts let nobody have ping sockets (ping_group_range).
func TestPing(t *testing.T) {
	natlab.NeedCommands(t, "ping")
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	answered := regexp.MustCompile(`(?m)^64 bytes from db \(\S+\): icmp_seq=3 ttl=\d+ time=`)
	if out := app.run("ping", "-c", "3", "-i", "0.2", "db"); !answered.MatchString(out) {
		t.Errorf("ping says %s", out)
	}
	if native {
		return
	}
	if out := app.as("nobody").run("ping", "-c", "3", "-i", "0.2",
		"db"); !answered.MatchString(out) {
		t.Errorf("nobody's ping says %s", out)
	}
	nobody := app.start("ping", "-c", "1", "-W", "30", "10.111.250.250")
	if status := nobody.Wait(proctest.Patience); status != 1 {
		t.Errorf("ping of an address that nobody has: status %d", status)
	}
	app.inPrefix("who says so", nobody.Expect(`^From (\S+) icmp_seq=1 Destination Host Unreachable$`)[1])
	app.run("ping", "-c", "1", "app")
	app.run("ping", "-c", "1", "127.0.0.1")
	app.run("ping", "-c", "1", db.public.Addr().String())
}

// TestSyslog sends a line to a syslog server: one datagram, which leaves the node after
// its program has ended, when there is a path.
func TestSyslog(t *testing.T) {
	natlab.NeedCommands(t, "logger", "/usr/bin/python3")
	log, app := pair(t, "log", "app")
	server := log.start("/usr/bin/python3", "-u", "-c", `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 514))
print("listening")
while True:
    line, peer = s.recvfrom(2048)
    print(peer[0], line.decode())
`)
	server.Expect(`^listening$`)
	app.run("logger", "--server", "log", "--udp", "--port", "514", "the only line")
	server.Expect(`^(\S+) <13>.* the only line$`)
}

// TestQUIC runs a program that has QUIC itself, on its own UDP sockets.
func TestQUIC(t *testing.T) {
	server, app := pair(t, "server", "app")
	s := server.start(program(t, "quic"), "serve", "0.0.0.0:443")
	s.Expect(`^listening on `)
	out := app.runFor(2*proctest.Patience, program(t, "quic"), "echo",
		server.address().String()+":443")
	m := regexp.MustCompile(`^echoed 8388608 bytes with (\S+):443 in `).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the client says %q", out)
	}
	app.inPrefix("the server's address", m[1])
	app.inPrefix("the client's address", s.Expect(`^accepted (\S+):\d+ on `)[1])
}

// TestUDPOneWay has a node send one way to a collector, as statsd and syslog do, while
// the collector's host sends to it from more ports than there can be flows with a socket:
// what the node sends afterwards arrives. It sends from a connected socket, and from one
// that is not.
func TestUDPOneWay(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "/usr/bin/python3")
	collector, app := pair(t, "collector", "app")
	// A quarter of the descriptors that a supervisor may have is for such flows.
	const files, ports = 4096, 4096/4 + 200
	collected := collector.start("/usr/bin/python3", "-u", "-c", `
import select, socket, sys, time
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for i, s in enumerate(sockets):
    s.bind(("0.0.0.0", 8125 + i))
print("collecting")
sys.stdin.readline()
to = (socket.gethostbyname("app"), 5353)
missing, i = {"last connected", "last unconnected"}, 0
while missing: # in rounds, as UDP loses some
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", 20000 + i % int(sys.argv[1])))
    s.sendto(b"x", to)
    s.close()
    i += 1
    if i % 20 == 0:
        for s in select.select(sockets, [], [], 0.005)[0]:
            missing.discard(s.recv(99).decode())
print("both arrived")
sys.stdin.readline()
`, strconv.Itoa(ports))
	collected.Expect(`^collecting$`)
	sender := app.start("/usr/bin/python3", "-u", "-c", `
import socket, sys, time
inlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
inlet.bind(("0.0.0.0", 5353))
inlet.setblocking(False)
print("bound")
sys.stdin.readline()
to, other = [(socket.gethostbyname("collector"), port) for port in (8125, 8126)]
connected, unconnected = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
connected.connect(to)
print("connected")
seen, when = set(), b""
while True:
    try:
        line, peer = inlet.recvfrom(99)
    except BlockingIOError:
        time.sleep(0.002)
        continue
    seen.add(peer[1])
    if len(seen) == int(sys.argv[1]):
        when = b"last "
    connected.send(when + b"connected")
    unconnected.sendto(when + b"unconnected", other)
`, strconv.Itoa(ports))
	sender.Expect(`^bound$`)
	limitFiles(t, supervisorOf(t, sender), files)
	sender.Say("")
	sender.Expect(`^connected$`)
	collected.Say("")
	collected.Expect(`^both arrived$`)
}

// limitFiles lets a process have no more descriptors than that.
func limitFiles(t *testing.T, pid int, files uint64) {
	t.Helper()
	var limit unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit)
	if err == nil {
		limit.Cur = min(files, limit.Max)
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
