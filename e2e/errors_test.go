package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// errnoScript does one thing with sockets and prints the name of the errno, or "ok".
const errnoScript = `
import errno, select, socket, sys, time
def outcome(f):
    try:
        f()
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
    return "ok"
def connect(host, port):
    s = socket.socket()
    s.connect((host, port))
def nonblocking(host, port):
    s = socket.socket()
    s.setblocking(False)
    first = s.connect_ex((host, port))
    assert first in (errno.EINPROGRESS, errno.ECONNREFUSED), errno.errorcode[first]
    select.select([], [s], [], 20)
    err = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or first * (first != errno.EINPROGRESS)
    if err: raise OSError(err, "")
def bind(host, port):
    socket.socket().bind((host, port))
    s = socket.socket()
    s.bind((host, port))
    s.listen()
print(outcome(lambda: globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
`

func TestRefused(t *testing.T) {
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	for _, how := range []string{"connect", "nonblocking"} {
		if out := app.python(errnoScript, how, "db", "8"); out != "ECONNREFUSED\n" {
			t.Errorf("%s to a port without listener: %q", how, out)
		}
		if out := app.python(errnoScript, how, "db", "7"); out != "ok\n" {
			t.Errorf("%s to a port with listener: %q", how, out)
		}
	}
	p := app.start("psql", "-h", "db", "-p", "8", "-c", "select 1")
	if status := p.Wait(proctest.Patience); status != 2 ||
		!strings.Contains(p.Err.String(), "Connection refused\n") {
		t.Errorf("psql: status %d, %s", status, p.Err)
	}
}

// TestBind asks for addresses and ports that are not to be had.
func TestBind(t *testing.T) {
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	elsewhere := db.address().String() // an address, but not app's
	for _, tc := range []struct{ name, host, want string }{
		{"another node's address", elsewhere, "EADDRNOTAVAIL"},
		{"no node's address", "192.0.2.1", "EADDRNOTAVAIL"},
		{"wildcard", "0.0.0.0", "ok"},
		{"localhost", "127.0.0.1", "ok"},
		{"own name", "app", "ok"},
	} {
		if out := app.python(errnoScript, "bind", tc.host, "9000"); out != tc.want+"\n" {
			t.Errorf("%s: got %q, want %s", tc.name, out, tc.want)
		}
	}
	out := app.python(`
import errno, socket
a = socket.create_server(("", 9000))
for host in "", "127.0.0.1", socket.gethostname():
    try:
        b = socket.create_server((host, 9000), reuse_port=False)
        print("ok")
    except OSError as e:
        print(errno.errorcode[e.errno])
a.close()
socket.create_server(("127.0.0.1", 9000))
socket.create_server((socket.gethostname(), 9000))
print("both")
`)
	if want := "EADDRINUSE\nEADDRINUSE\nEADDRINUSE\nboth\n"; out != want {
		t.Errorf("port in use: got %q, want %q", out, want)
	}
	// Its own wildcard listener is on localhost, too.
	app.run("sh", "-c", `/usr/bin/python3 -m http.server 9000 & "$0" wait localhost:9000; status=$?; kill $!; exit $status`, program(t, "probe"))
}

// TestStatus compares exit statuses with those that a shell would see.
func TestStatus(t *testing.T) {
	_, app := pair(t, "db", "app")
	codes := []int{0, 1, 2, 7, 42, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255}
	if *long {
		codes = nil
		for code := range 256 {
			codes = append(codes, code)
		}
	}
	for _, code := range codes {
		if status := app.start("sh", "-c",
			fmt.Sprintf("exit %d", code)).Wait(proctest.Patience); status != code {
			t.Errorf("exit %d: status %d", code, status)
		}
	}
	for _, signal := range []int{1, 2, 3, 6, 9, 10, 11, 13, 14, 15} {
		cmd := app.command("sh", "-c", fmt.Sprintf("kill -%d $$", signal))
		cmd.Dir = tempDir(t) // for a core file
		if status := proctest.ForTest(t, "sh",
			cmd).Wait(proctest.Patience); status != 128+signal {
			t.Errorf("signal %d: status %d, want %d", signal, status, 128+signal)
		}
	}
}

func TestNotExecutable(t *testing.T) {
	needBoxer(t)
	_, app := pair(t, "db", "app")
	dir := tempDir(t)
	write(t, dir+"/text", "not a program")
	for _, tc := range []struct {
		command string
		status  int
	}{
		{dir + "/text", 126},
		{dir, 126},
		{dir + "/nothing", 127},
		{"no-such-command", 127},
	} {
		p := app.start(tc.command)
		if status := p.Wait(proctest.Patience); status != tc.status {
			t.Errorf("%s: status %d, want %d", tc.command, status, tc.status)
		}
		if said := p.Err.String(); !strings.HasPrefix(said, "boxer: ") ||
			!strings.Contains(said, tc.command) {
			t.Errorf("%s: boxer says %q", tc.command, said)
		}
	}
}

// TestCannotJoin has join URLs that lead nowhere.
func TestCannotJoin(t *testing.T) {
	needBoxer(t)
	c := newCloud(t)
	app := c.function("app", punchable)
	token, rest, _ := strings.Cut(strings.TrimPrefix(c.url, "boxer://"), "@")
	_, pin, _ := strings.Cut(rest, "?pin=")
	other := func(text string) string { // with another first character
		if text[0] == 'a' {
			return "b" + text[1:]
		}
		return "a" + text[1:]
	}
	for _, tc := range []struct{ name, url, want string }{
		{"wrong token", strings.Replace(c.url, token, other(token), 1), "token"},
		{"wrong pin", strings.Replace(c.url, pin, other(pin), 1), "pin"},
		{"nobody there", strings.Replace(c.url, fmt.Sprint(coordinatorPort),
			fmt.Sprint(coordinatorPort+1), 1), "unreachable"},
		{"unknown host", strings.Replace(c.url, c.public.Addr().String(), "no-such-host",
			1), "no-such-host"},
		{"not a URL", "boxer:" + token, "join URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // they wait for time to pass
			bad := *c
			bad.url = tc.url
			p := (&function{cloud: &bad, t: t, host: app.host, name: "app"}).start("echo",
				"has run")
			if status := p.Wait(45 * time.Second); status != 125 {
				t.Errorf("status %d, want 125", status)
			}
			said := p.Err.String()
			if !strings.HasPrefix(said, "boxer: ") || !strings.Contains(said, tc.want) ||
				strings.Count(said, "\n") > 2 {
				t.Errorf("boxer says %q, want something about %q", said, tc.want)
			}
			if strings.Contains(said, token) || strings.Contains(said, other(token)) {
				t.Errorf("boxer shows the token: %q", said)
			}
			if p.Out.String() != "" {
				t.Errorf("the program has run")
			}
		})
	}
}

// TestNodeGone asks for a node that has left.
func TestNodeGone(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	server := db.echo()
	app.reach("db:7")
	addr := db.address().String()
	// Under way from before, so that the node knows the other one, and its path.
	client := app.start("sh", "-c", `"$0" wait db:7; read line; "$0" dial "$1:7"; "$0" lookup db; exit 0`, program(t, "probe"), addr)
	client.Expect(`^reached`)
	server.Stop(syscall.SIGTERM)
	began := time.Now()
	client.Say("go on")
	if errno := client.Expect(`^failed with (\S+):`)[1]; errno != "EHOSTUNREACH" && errno != "ETIMEDOUT" {
		t.Errorf("connect to a node that has left: %s", errno)
	}
	client.Wait(proctest.Patience)
	if !strings.Contains(client.Err.String(), "no such host") {
		t.Errorf("the name of a node that has left: %s%s", client.Out, client.Err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}
