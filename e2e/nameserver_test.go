package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// namedConf makes BIND authoritative for one zone that everybody may transfer and update.
const namedConf = `options { directory "%[1]s"; pid-file none; session-keyfile none; listen-on { any; };
	listen-on-v6 { any; }; recursion no; allow-transfer { any; }; dnssec-validation no; };
controls {};
zone "corp.test" { type master; file "%[1]s/zone"; allow-update { any; }; };
`

const namedZone = `$TTL 60
@ SOA ns admin 1 3600 600 86400 60
@ NS ns
ns A %[1]s
www A 192.0.2.77
db A 192.0.2.78
large TXT %[2]s
`

// startNamed starts BIND on the public host of a lab.
func startNamed(t *testing.T, c *cloud) {
	t.Helper()
	dir := tempDir(t)
	write(t, filepath.Join(dir, "named.conf"), fmt.Sprintf(namedConf, dir))
	large := strings.Repeat(fmt.Sprintf("%q ", strings.Repeat("x", 200)), 20)
	write(t, filepath.Join(dir, "zone"), fmt.Sprintf(namedZone, c.public.Addr(), large))
	p := proctest.ForTest(t, "named", c.public.Command(context.Background(), "named",
		"-g", "-c", filepath.Join(dir, "named.conf")))
	p.ExpectLog(` running$`)
}

// digs asks a name server of one's own choice in every way that dig(1) and nsupdate(1)
// have. The ids and times that differ from run to run are left out.
const digs = `
d="dig +time=5 +tries=1 @$1"
echo "A $($d +short www.corp.test)"
echo "$($d +norecurse www.corp.test | grep -o 'flags: [^;]*' | head -1)"
echo "AXFR $($d corp.test AXFR | grep -c corp.test.)"
printf 'server %s\nzone corp.test\nupdate add new%s.corp.test 60 A 192.0.2.9\nsend\n' "$1" "$2" | nsupdate
echo "nsupdate $?"
echo "new $($d +short "new$2.corp.test")"
printf 'server %s\nzone corp.test\nupdate delete new%s.corp.test\nsend\n' "$1" "$2" | nsupdate
echo "TCP $($d +tcp +short www.corp.test)"
echo "large $($d +short large.corp.test TXT | wc -c)"
echo "large without EDNS $($d +noedns +short large.corp.test TXT | wc -c)"
echo "NXDOMAIN $($d nosuch.corp.test | grep -o 'status: [A-Z]*')"
echo "REFUSED $($d example.org | grep -o 'status: [A-Z]*')"
echo "version $($d +short version.bind CHAOS TXT | wc -l)"
`

// TestOwnNameServer asks a name server that resolv.conf does not name: what it answers is
// what Linux shows, but for the network's own names.
func TestOwnNameServer(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	startNamed(t, app.cloud)
	server := app.public.Addr().String()
	bare, err := app.host.Command(t.Context(), "sh", "-c", digs, "digs", server,
		"1").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(bare), "A 192.0.2.77\n") ||
		!strings.Contains(string(bare), "nsupdate 0\n") {
		t.Fatalf("bare: %s", bare)
	}
	if out := app.run("sh", "-c", digs, "digs", server, "2"); out != string(bare) {
		t.Errorf("got\n%swant\n%s", out, bare)
	}
	db.echo()
	app.reach("db:7")
	addr := db.address().String()
	for _, options := range []string{"+notcp", "+tcp"} {
		if out := app.run("dig", options, "+short", "@"+server, "db",
			"A"); out != addr+"\n" {
			t.Errorf("dig %s: the network's own name is %q, want %s", options, out, addr)
		}
	}
	// db.corp.test is the server's, whatever the node db is.
	if out := app.run("dig", "+short", "@"+server, "db.corp.test",
		"A"); out != "192.0.2.78\n" {
		t.Errorf("the server's name is %q", out)
	}
}

// TestTraceOwnNameServer traces what programs ask a name server that resolv.conf does not
// name, and what they ask the node's resolver: each look-up has its process.
func TestTraceOwnNameServer(t *testing.T) {
	needBoxer(t)
	_, app := pair(t, "db", "app")
	startNamed(t, app.cloud)
	server := app.public.Addr().String()
	file := filepath.Join(tempDir(t), "trace.jsonl")
	cmd := app.host.Command(context.Background(), boxer, "trace", "--name", "traced", "-e", "connections", "-o", file, "--", "sh", "-c", `
dig +tries=1 +notcp @$1 www.corp.test A; dig +tries=1 +tcp @$1 db.corp.test A; dig +tries=1 @$1 nosuch.corp.test A
dig +tries=1 +tcp @$1 gone.boxer A; getent hosts nobody.boxer; true`, "sh", server)
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+app.url)
	p := proctest.ForTest(t, "traced", cmd)
	if status := p.Wait(proctest.Patience); status != 0 {
		t.Fatalf("status %d: %s", status, p.Err.Tail())
	}
	want := map[string]string{ // what is said of each name
		"www.corp.test":    "dig NOERROR [192.0.2.77] " + server + " " + server + ":53",
		"db.corp.test":     "dig NOERROR [192.0.2.78] " + server + " " + server + ":53",
		"nosuch.corp.test": "dig NXDOMAIN [] " + server + " " + server + ":53",
		"gone.boxer":       "dig NXDOMAIN [] boxer " + server + ":53",
		"nobody.boxer":     "getent NXDOMAIN [] boxer ",
	}
	started := make(map[int]string)
	for line := range strings.Lines(read(t, file)) {
		var e struct {
			Type, What, Exe, Query, RCode, Server, Asked string
			PID                                          int
			Answers                                      []string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case e.What == "exec":
			started[e.PID] = filepath.Base(e.Exe)
		case e.Type == "dns":
			got := fmt.Sprintf("%s %s %v %s %s", started[e.PID], e.RCode, e.Answers,
				e.Server, e.Asked)
			if !strings.HasPrefix(got, want[e.Query]) || want[e.Query] == "" {
				t.Errorf("%s: got %q, want %q", e.Query, got, want[e.Query])
			}
			if e.Query != "nobody.boxer" { // which is asked for both families
				delete(want, e.Query)
			}
		}
	}
	delete(want, "nobody.boxer")
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

// TestNoNameServer asks a host where nobody listens: the refusal comes at once, as on
// Linux.
func TestNoNameServer(t *testing.T) {
	_, app := pair(t, "db", "app")
	server := "203.0.113.1"
	if !native {
		server = app.public.Addr().String()
	}
	for _, options := range []string{"+notcp", "+tcp"} {
		began := time.Now()
		out := app.run("sh", "-c", "dig +time=30 +tries=1 "+options+" @"+server+" www.corp.test; true")
		if !strings.Contains(out, "connection refused") {
			t.Errorf("dig %s: %s", options, out)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("dig %s waits %v for a refusal", options, took)
		}
	}
}

// TestMetadataName has a node whose name is the beginning of a name that exists outside.
func TestMetadataName(t *testing.T) {
	needBoxer(t)
	metadata, app := pair(t, "db", "app")
	startNamed(t, app.cloud)
	conf := fmt.Sprintf("search proj.test corp.test\nnameserver %s\n", app.public.Addr())
	if err := app.host.SetResolvConf(conf); err != nil {
		t.Fatal(err)
	}
	metadata.echo()
	app.reach("db.boxer:7") // db itself is also the outside's, by the search domain
	const ask = `import socket, sys; print(*(socket.gethostbyname(n) for n in sys.argv[1:]))`
	out := app.python(ask, "db.corp.test", "www.corp.test", "www", "db.boxer")
	if want := fmt.Sprintf("192.0.2.78 192.0.2.77 192.0.2.77 %v\n",
		metadata.address()); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// TestServerOnPort53 has a program that listens on port 53, as name servers, CoreDNS and
// Samba do: names of the network are resolved beside it, and after its end.
func TestServerOnPort53(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	out := app.python(`
import socket
def look():
    return socket.gethostbyname("db")
want = look()
for addr in "0.0.0.0", "127.0.0.1":
    s = socket.socket(); s.bind((addr, 53)); s.listen(5)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((addr, 53))
    print(look() == want)
    c = socket.create_connection(("127.0.0.1", 53)); a, _ = s.accept()  # the listener's still
    c.sendall(b"x"); print(a.recv(1))
    v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.sendto(b"y", ("127.0.0.1", 53))
    print(u.recv(9))
    for k in s, u, c, a, v: k.close()
    print(look() == want)`)
	if want := strings.Repeat("True\nb'x'\nb'y'\nTrue\n", 2); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// TestResolverStranger has another user of the host ask the node's resolver, at every
// port that it may have: it is for the node's programs.
func TestResolverStranger(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	p := app.start("/usr/bin/python3", "-u", "-c", `
import socket, sys
print("db is", socket.gethostbyname("db"))
sys.stdin.read()`)
	p.Expect(`^db is `)
	const ask = `
import re, socket, struct
q = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + b"\x02db\x00" + struct.pack(">2H", 1, 1)
asked = answered = 0
for kind, proto in ("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM):
    for line in open("/proc/net/" + kind).readlines()[1:]:
        local = line.split()[1]
        addr = socket.inet_ntoa(bytes.fromhex(local[:8])[::-1])
        if not re.match(r"127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.", addr): continue
        s = socket.socket(socket.AF_INET, proto)
        s.settimeout(0.3)
        asked += 1
        try:
            s.connect((addr, int(local[9:], 16)))
            s.send(q if kind == "udp" else struct.pack(">H", len(q)) + q)
            answered += len(s.recv(512)) > 0
        except OSError: pass
print("asked" if asked > 1 else "none", answered)`
	stranger := app.as("nobody")
	out, err := stranger.host.Command(t.Context(), "/usr/bin/python3", "-c", ask).Output()
	if err != nil || string(out) != "asked 0\n" {
		t.Errorf("another user: %q, %v", out, err)
	}
	p.Stdin.Close()
	p.Wait(proctest.Patience)
}
