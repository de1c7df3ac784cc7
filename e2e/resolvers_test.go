package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestLookupCgo has Go ask by getaddrinfo(3), as it does in programs that are linked with
// C.
func TestLookupCgo(t *testing.T) {
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	four, six := db.addresses()
	p := app.start("env", "GODEBUG=netdns=cgo+1", program(t, "probe-cgo"), "lookup", "db")
	want := []string{four.String(), six.String()}
	slices.Sort(want)
	if status := p.Wait(proctest.Patience); status != 0 ||
		!slices.Equal(strings.Fields(p.Out.String()), want) {
		t.Errorf("status %d, %q, want %q", status, p.Out.String(), want)
	}
	if !strings.Contains(p.Err.String(), "use of the cgo resolver") {
		t.Errorf("Go has not asked by cgo: %s", p.Err.String())
	}
}

// TestLookupIPv6 asks for IPv6 addresses alone.
func TestLookupIPv6(t *testing.T) {
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	_, six := db.addresses()
	for _, command := range []string{
		"getent ahostsv6 db | awk '{print $1}' | sort -u",
		`/usr/bin/python3 -c 'import socket; print({a[4][0] for a in socket.getaddrinfo("db", None, socket.AF_INET6)}.pop())'`,
	} {
		if out := app.run("sh", "-c", command); out != six.String()+"\n" {
			t.Errorf("%s: got %q, want %v", command, out, six)
		}
	}
	if out := app.run("sh", "-c", "getent ahostsv6 nosuch; echo $?"); out != "2\n" {
		t.Errorf("a name that nobody has: %q", out)
	}
}

// query asks a name server for a name as dig(1) does, over UDP and without EDNS: a name,
// a type, and at most 512 bytes of an answer (RFC 1035 section 4.2.1). It prints the
// code, the flag that says it is truncated, and how many records came.
const query = `
import socket, struct, sys
name, kind = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
q = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name.encode() + bytes(1) + struct.pack(">2H", kind, 1)
s.sendto(q, ("192.0.2.53", 53))
b, _ = s.recvfrom(4096)
ident, flags, _, answers, _, _ = struct.unpack(">6H", b[:12])
print(ident == 4711, flags & 15, flags >> 9 & 1, answers, len(b) <= 512)
`

const (
	typeA    = "1"
	typeAAAA = "28"
)

// TestTruncatedAnswers gives so many nodes one name that their addresses fill no
// datagram, and asks by resolvers that turn to TCP then: glibc and c-ares of old send no
// EDNS record that would allow more, Go is told not to. musl 1.2.3 does not turn to TCP:
// it takes what there is.
func TestTruncatedAnswers(t *testing.T) {
	needBoxer(t)
	// 34 IPv4 addresses take 16 bytes each.
	const many = 34
	c := newCloud(t)
	web, client := c.function("web", punchable), c.function("client", punchable)
	for range many {
		web.start("sleep", "1000")
	}
	client.flags = []string{"--wait-for", fmt.Sprint("web=", many)}
	for _, kind := range []string{typeA, typeAAAA} {
		out := strings.Fields(client.python(query, "web", kind))
		if len(out) != 5 || !slices.Equal(out[:3], []string{"True", "0", "1"}) ||
			out[4] != "True" {
			t.Errorf("type %s: %q: want a good answer that is truncated, in 512 bytes",
				kind, out)
		}
	}
	const glibc = `
import socket
for f in socket.AF_INET, socket.AF_INET6, 0:
    print(len({a[4][0] for a in socket.getaddrinfo("web", 7, f)}))`
	// c-ares
	const node = `require("dns").resolve4("web", (e, a) => console.log(e ? e.code : new Set(a).size));`
	for _, tc := range []struct {
		name string
		argv []string
		want string
	}{
		{"glibc", []string{"/usr/bin/python3", "-c", glibc},
			fmt.Sprintf("%d\n%d\n%d\n", many, many, 2*many)},
		{"Node", []string{"node", "-e", node}, fmt.Sprintf("%d\n", many)},
		{"Go", []string{"sh", "-c", "GODEBUG=netedns0=0 " + program(t, "probe") +
			" lookup web | sort -u | wc -l"}, fmt.Sprintf("%d\n", 2*many)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			natlab.NeedCommands(t, tc.argv[0])
			if out := client.with(t).run(tc.argv[0], tc.argv[1:]...); out != tc.want {
				t.Errorf("got %q, want %q", out, tc.want)
			}
		})
	}
}

// TestLongName has a name of 63 characters, the most that a label has (RFC 1035 section
// 2.3.4).
func TestLongName(t *testing.T) {
	needBoxer(t)
	long := strings.Repeat("long-name-", 6) + "end"
	a, b := pair(t, "a", "b")
	node := a.named(long)
	node.echo()
	b.reach(long + ":7")
	four, _ := node.addresses()
	if out := b.python(`
import socket, sys
print(socket.gethostbyname(sys.argv[1]), socket.gethostbyaddr(sys.argv[2])[0])`, long, four.String()); out != fmt.Sprintf("%v %s\n", four, long) {
		t.Errorf("got %q", out)
	}
	if out := node.run("sh", "-c", "hostname; uname -n; cat /proc/sys/kernel/hostname"); out != strings.Repeat(long+"\n", 3) {
		t.Errorf("the node says %q", out)
	}
	p := a.named(long + "x").start("true")
	if status := p.Wait(proctest.Patience); status != 125 ||
		!strings.Contains(p.Err.String(), "64 characters") {
		t.Errorf("a name of 64 characters: status %d: %s", status, p.Err.String())
	}
}
