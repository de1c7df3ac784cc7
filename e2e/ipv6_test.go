package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// greeter accepts connections at an IPv6 address and its port, of IPv6 alone, and says to
// each who is at its ends.
const greeter = `
import socket, sys
l = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6)
print("listening", flush=True)
while True:
    c, peer = l.accept()
    print("accepted", peer[0], "at", c.getsockname()[0], flush=True)
    c.sendall(f"you are {peer[0]}\n".encode())
    c.close()`

// TestNginxOverIPv6 has a server that takes IPv6 alone on port 80, as nginx does with
// "listen [::]:80".
func TestNginxOverIPv6(t *testing.T) {
	natlab.NeedCommands(t, "nginx", "curl")
	web, app := pair(t, "web", "app")
	dir := tempDir(t)
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	randomFile(t, filepath.Join(dir, "www", "file"), 3<<20)
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, strings.NewReplacer("{dir}", dir, "listen 80",
		"listen [::]:80").Replace(nginxConf))
	web.start("nginx", "-p", dir, "-c", conf, "-e", "stderr")
	curl := []string{"--silent", "--show-error", "--fail", "--write-out",
		"%{remote_ip} %{local_ip}\n", "--output", filepath.Join(dir, "got")}
	patient := append([]string{"-6", "--retry", "20", "--retry-connrefused",
		"--retry-delay", "1"}, curl...)
	f := strings.Fields(app.run("curl", append(patient, "http://web/file")...))
	_, six := web.addresses()
	if len(f) != 2 || f[0] != six.String() {
		t.Fatalf("curl says %q, want to be at %v", f, six)
	}
	app.inPrefix("curl's own address", f[1])
	want, _ := checksum(t, filepath.Join(dir, "www", "file"))
	if got, size := checksum(t, filepath.Join(dir, "got")); got != want {
		t.Errorf("%d bytes with another checksum", size)
	}
	if literal := app.run("curl", append(curl,
		fmt.Sprintf("http://[%v]/file", six))...); strings.Fields(literal)[0] != f[0] {
		t.Errorf("by address: curl says %q", literal)
	}
	if either := app.run("curl", append(curl,
		"http://web/file")...); strings.Fields(either)[0] != f[0] {
		t.Errorf("of both families: curl says %q", either)
	}
	const refused = 7 // curl(1), EXIT CODES
	if status := app.start("curl", append([]string{"-4"},
		append(curl, "http://web/file")...)...).Wait(proctest.Patience); status != refused {
		t.Errorf("over IPv4: status %d, want %d", status, refused)
	}
}

// TestLanguagesOverIPv6 has servers for both families, and clients that prefer IPv6, or
// are given an address.
func TestLanguagesOverIPv6(t *testing.T) {
	t.Run("Python asyncio", func(t *testing.T) {
		hub, app := pair(t, "hub", "app")
		server := hub.start("/usr/bin/python3", "-u", "-c", `
import asyncio
async def serve(r, w):
    print("client", w.get_extra_info("peername")[0], "at", w.get_extra_info("sockname")[0])
    w.write(await r.read()); await w.drain(); w.close()
async def main():
    s = await asyncio.start_server(serve, None, 9000)
    print("listening", len(s.sockets))
    await s.serve_forever()
asyncio.run(main())`)
		// a socket of IPV6_V6ONLY, and one of IPv4, on the same port
		server.Expect(`^listening 2$`)
		for _, family := range []string{"AF_INET6", "AF_INET"} {
			out := app.python(`
import asyncio, socket, sys
async def main():
    r, w = await asyncio.open_connection("hub", 9000, family=getattr(socket, sys.argv[1]))
    w.write(b"x" * 500000); w.write_eof()
    print(len(await r.read()), w.get_extra_info("peername")[0])
asyncio.run(main())`, family)
			size, peer, _ := strings.Cut(strings.TrimSpace(out), " ")
			m := server.Expect(`^client (\S+) at (\S+)$`)
			if six := strings.Contains(peer, ":"); size != "500000" || m[2] != peer ||
				six != (family == "AF_INET6") {
				t.Errorf("%s: the client says %q, the server %q", family, out, m[0])
			}
			hub.isAddress("the server's address", peer)
			hub.inPrefix("the client's address", m[1])
		}
	})
	t.Run("Java", func(t *testing.T) {
		natlab.NeedCommands(t, "java")
		hub, app := pair(t, "hub", "app")
		java := []string{"-XX:-UsePerfData", "-XX:TieredStopAtLevel=1",
			"-Djava.net.preferIPv6Addresses=true", "-cp",
			filepath.Dir(program(t, "Selector.class")), "Selector"}
		server := hub.start("java", append(java, "server", "9000")...)
		server.Expect(`^listening `)
		if out := app.run("java", append(java, "client", "hub", "9000",
			"20")...); out != "20 connections ok\n" {
			t.Errorf("the client says %q", out)
		}
		m := server.Expect(`^client /\[?([^\]]+)\]?:\d+ on /\[?([^\]]+)\]?:9000$`)
		if _, six := hub.addresses(); parseAddr(t,
			strings.TrimSuffix(m[2], "%0")) != six {
			t.Errorf("the server is at %s, want %v", m[2], six)
		}
		hub.inPrefix("the client's address", strings.TrimSuffix(m[1], "%0"))
	})
	t.Run("Go", func(t *testing.T) {
		web, app := pair(t, "web", "app")
		web.start(program(t, "gohttp"), "serve", ":8080").Expect(`^listening \[::\]:8080$`)
		_, six := web.addresses()
		out := app.run(program(t, "gohttp"), "get",
			netip.AddrPortFrom(six, 8080).String(), "20")
		if !strings.HasSuffix(out, "\nok\n") ||
			!strings.Contains(out, fmt.Sprintf("this is [%v]:8080", six)) {
			t.Errorf("gohttp says\n%s", out)
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		db, app := pair(t, "db", "app")
		startPostgres(db)
		_, six := db.addresses()
		out := app.run("psql", "-X", "-h", six.String(), "-U", "postgres", "-At", "-c",
			"select host(inet_server_addr())")
		if strings.TrimSpace(out) != six.String() {
			t.Errorf("the server is at %q, want %v", out, six)
		}
	})
}

// TestForwardOverIPv6 forwards from ::1 to a node whose program takes IPv6 alone, by name
// and by address.
func TestForwardOverIPv6(t *testing.T) {
	needBoxer(t)
	db, laptop := pair(t, "db", "laptop")
	server := db.start("/usr/bin/python3", "-c", greeter, "::", "7")
	server.Expect(`^listening$`)
	_, six := db.addresses()
	for i, target := range []string{"db:7", netip.AddrPortFrom(six, 7).String()} {
		listen := fmt.Sprintf("[::1]:%d", 8000+i)
		cmd := laptop.host.Command(context.Background(), boxer, "forward", listen, target)
		cmd.Env = append(os.Environ(), "BOXER_JOIN="+laptop.url)
		proctest.ForTest(t, "forward", cmd).ExpectLog(`forwarding `)
		out := laptop.bare("/usr/bin/python3", "-c", readAll, "::1", fmt.Sprint(8000+i))
		from, ok := strings.CutPrefix(strings.TrimSpace(out), "you are ")
		if !ok || server.Expect(`^accepted (\S+) at (\S+)$`)[2] != six.String() {
			t.Fatalf("%s: got %q", target, out)
		}
		laptop.inPrefix("the client's address", from)
	}
}

// readAll prints what comes from an address and port.
const readAll = `
import socket, sys
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
while b := c.recv(4096):
    print(b.decode(), end="")`

// TestPublishOverIPv6 publishes programs of one family to clients of either.
func TestPublishOverIPv6(t *testing.T) {
	needBoxer(t)
	c := newCloud(t)
	four, six := c.function("four", punchable), c.function("six", punchable)
	for _, tc := range []struct {
		f          *function
		bind, from string
	}{
		{four, "::ffff:0.0.0.0", "127.0.0.1"}, {four, "::ffff:0.0.0.0", "::1"},
		{six, "::", "127.0.0.1"}, {six, "::", "::1"},
	} {
		publish := fmt.Sprintf("%s:8000:7", tc.from)
		if strings.Contains(tc.from, ":") {
			publish = fmt.Sprintf("[%s]:8000:7", tc.from)
		}
		script := greeter
		if tc.f == four {
			script = strings.Replace(greeter, "family=socket.AF_INET6",
				"family=socket.AF_INET", 1)
			tc.bind = "0.0.0.0"
		}
		cmd := tc.f.command("/usr/bin/python3", "-c", script, tc.bind, "7")
		cmd.Args = insertAfter(cmd.Args, "run", "--publish", publish)
		p := proctest.ForTest(t, tc.f.name, cmd)
		p.Expect(`^listening$`)
		out := tc.f.bare("/usr/bin/python3", "-c", readAll, tc.from, "8000")
		from, ok := strings.CutPrefix(strings.TrimSpace(out), "you are ")
		if !ok {
			t.Fatalf("%s to %s: got %q", tc.from, tc.f.name, out)
		}
		if sameFamily := strings.Contains(from, ":") == strings.Contains(tc.from,
			":"); sameFamily && from != tc.from {
			t.Errorf("%s to %s: the program sees %s", tc.from, tc.f.name, from)
		} else if !sameFamily { // as from a proxy
			tc.f.inPrefix("the client's address", from)
		}
		p.Stop(15)
	}
}

// bare runs a program on the function's host, outside of boxer, and returns what it
// prints.
func (f *function) bare(name string, args ...string) string {
	f.t.Helper()
	p := proctest.ForTest(f.t, f.name+": "+name,
		f.host.Command(context.Background(), name, args...))
	if status := p.Wait(proctest.Patience); status != 0 {
		f.t.Fatalf("%s: %s: status %d\n%s%s", f.name, name, status, p.Out.Tail(),
			p.Err.Tail())
	}
	return p.Out.String()
}

// askSix connects to an echo server by the IPv6 addresses of its name alone, as clients
// do that take the first answer to AAAA, and asks it over UDP as well.
const askSix = `
import socket, sys
name = sys.argv[1]
(*_, to), = set(socket.getaddrinfo(name, 7, socket.AF_INET6, socket.SOCK_STREAM))
for _ in range(3):
    s = socket.create_connection(to[:2], 20)
    s.sendall(b"hello")
    print(s.recv(5).decode(), s.getpeername()[0] == to[0])
    s.close()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
u.settimeout(20)
u.sendto(b"hello", (to[0], 8))
b, peer = u.recvfrom(64)
print(b.decode(), peer[0] == to[0])`

// TestIPv4ServerOverIPv6 has a server that listens on 0.0.0.0, and a client that goes to
// the IPv6 address of its name: on another host, and on the same.
func TestIPv4ServerOverIPv6(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	server := db.start("/usr/bin/python3", "-u", "-c", `
import socket, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 8))
l = socket.create_server(("0.0.0.0", 7))
def serve():
    while True:
        c, peer = l.accept()
        print("TCP", peer[0])
        c.sendall(c.recv(5))
        c.close()
threading.Thread(target=serve, daemon=True).start()
print("bound")
while True:
    b, peer = u.recvfrom(64)
    print("UDP", peer[0])
    u.sendto(b, peer)`)
	server.Expect(`^bound$`)
	for _, client := range []*function{app, db.named("neighbour")} {
		if out, want := client.python(askSix, "db"),
			strings.Repeat("hello True\n", 4); out != want {
			t.Errorf("%s: got %q, want %q", client.name, out, want)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(server.Out.String()), "\n")[1:] {
		if _, addr, _ := strings.Cut(line, " "); !parseAddr(t, addr).Is4() {
			t.Errorf("the server sees %q, want an IPv4 address", line)
		}
	}
}
