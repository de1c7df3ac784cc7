package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// lookupLimit bounds a look-up that finds nothing. The nameserver of the lab never
// answers, and glibc asks twice, for both families at once.
const lookupLimit = 10 * time.Second

func TestHostname(t *testing.T) {
	db, _ := pair(t, "db", "app")
	for _, command := range [][]string{
		{"hostname"}, {"uname", "-n"},
		{"/usr/bin/python3", "-c", "import socket; print(socket.gethostname())"},
		{"/usr/bin/python3", "-c", "import os; print(os.uname().nodename)"},
	} {
		if out := db.run(command[0], command[1:]...); out != "db\n" {
			t.Errorf("%s says %q, want db", strings.Join(command, " "), out)
		}
	}
}

// TestHostnameFile asks where the machine has another name than the node: the file is the
// one thing that needs CAP_SYS_ADMIN. What a program does in a UTS namespace of its own
// is the kernel's either way.
func TestHostnameFile(t *testing.T) {
	needBoxer(t)
	machine := newCloud(t).function("machine", punchable)
	node := machine.named("node")
	const ask = "cat /proc/sys/kernel/hostname; hostname; uname -n; "
	const inner = " --uts sh -c 'hostname inner; hostname; cat /proc/sys/kernel/hostname'; hostname; "
	t.Run("root", func(t *testing.T) {
		out := node.with(t).run("sh", "-c",
			ask+"unshare"+inner+"hostname other; cat /proc/sys/kernel/hostname; hostname")
		if want := strings.Repeat("node\n", 3) +
			"inner\ninner\nnode\nother\nother\n"; out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		natlab.NeedUsers(t)
		node := node.with(t).as("nobody")
		if out, want := node.run("sh", "-c", ask+"hostname other 2>/dev/null; hostname"),
			"machine\nnode\nnode\nnode\n"; out != want {
			t.Errorf("got %q, want %q", out, want)
		}
		if err := node.host.Command(t.Context(), "unshare", "-r",
			"true").Run(); err != nil {
			t.Skip("users have no user namespaces:", err)
		}
		if out, want := node.run("sh", "-c", "unshare -r"+inner),
			"inner\ninner\nnode\n"; out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	})
	t.Run("the machine", func(t *testing.T) {
		out, err := machine.host.Command(t.Context(), "hostname").Output()
		if err != nil || string(out) != "machine\n" {
			t.Errorf("it is called %q now, %v", out, err)
		}
	})
}

// TestLookup asks for a node by the resolvers of glibc, musl and Go, forwards and
// backwards.
func TestLookup(t *testing.T) {
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	four, six := db.addresses()
	addr, addr6 := four.String(), six.String()
	t.Run("glibc", func(t *testing.T) {
		app := app.with(t)
		out := app.python(`
import socket
print(socket.gethostbyname("db"))
print(sorted({a[4][0] for a in socket.getaddrinfo("db", 7, type=socket.SOCK_STREAM)}))
print(sorted({a[4][0] for a in socket.getaddrinfo("db", 7, socket.AF_INET6)}))
print(socket.gethostbyname("DB"))`)
		if want := fmt.Sprintf("%s\n['%[1]s', '%s']\n['%[2]s']\n%[1]s\n", addr,
			addr6); out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	})
	t.Run("glibc backwards", func(t *testing.T) {
		app := app.with(t)
		out := app.python(`
import socket, sys
print(socket.gethostbyaddr(sys.argv[1])[0])
print(socket.getnameinfo((sys.argv[1], 7), socket.NI_NAMEREQD)[0])
print(socket.gethostbyaddr(sys.argv[2])[0])
print(socket.getnameinfo((sys.argv[2], 7), socket.NI_NAMEREQD)[0])`, addr, addr6)
		if out != strings.Repeat("db\n", 4) {
			t.Errorf("got %q", out)
		}
	})
	t.Run("musl", func(t *testing.T) {
		app := app.with(t)
		if out := app.run(program(t, "tcp"), "client", "db", "7",
			"10"); !strings.HasPrefix(out, "peer "+addr+" 7 ") {
			t.Errorf("got %q, want %s", out, addr)
		}
	})
	t.Run("Go", func(t *testing.T) {
		app := app.with(t)
		if out := app.run(program(t, "probe"), "lookup",
			"db"); out != addr+"\n"+addr6+"\n" {
			t.Errorf("got %q, want %s and %s", out, addr, addr6)
		}
	})
	t.Run("getent", func(t *testing.T) {
		app := app.with(t)
		if out := app.run("getent", "hosts", "db"); len(strings.Fields(out)) < 2 ||
			strings.Fields(out)[0] != addr6 {
			t.Errorf("got %q, want %s", out, addr6) // it asks for IPv6 first
		}
	})
	t.Run("own name", func(t *testing.T) {
		out := db.with(t).named("db2").python(`
import socket
own = socket.gethostbyname(socket.gethostname())
s = socket.create_server(("", 0))
c = socket.create_connection((socket.gethostname(), s.getsockname()[1]), 10)
print(own == c.getpeername()[0] or own)`)
		if out != "True\n" {
			t.Errorf("own name resolves to %s, which is not what answers", out)
		}
	})
}

func TestUnknownName(t *testing.T) {
	_, app := pair(t, "db", "app")
	began := time.Now()
	out := app.python(`
import socket
try:
    socket.getaddrinfo("nosuch", 80)
except socket.gaierror as e:
    print({v: k for k, v in vars(socket).items() if k.startswith("EAI_")}[e.errno], e.strerror)`)
	if took := time.Since(began); took > lookupLimit {
		t.Errorf("glibc took %v", took)
	}
	want := "EAI_NONAME Name or service not known\n"
	if native { // without a nameserver nobody can say that there is no such name
		want = "EAI_AGAIN Temporary failure in name resolution\n"
	}
	if out != want {
		t.Errorf("glibc says %q, want %q", out, want)
	}

	p := app.start(program(t, "tcp"), "client", "nosuch", "80", "1")
	if status := p.Wait(lookupLimit); status != 2 {
		t.Errorf("musl: status %d, want 2", status)
	}
	p = app.start("psql", "-h", "nosuch", "-c", "select 1")
	if status := p.Wait(lookupLimit); status != 2 ||
		!strings.Contains(p.Err.String(), "could not translate host name") {
		t.Errorf("psql: status %d: %s", status, p.Err)
	}
}

func TestSeveralNodesWithOneName(t *testing.T) {
	needBoxer(t)
	a, b := pair(t, "a", "b")
	servers := []*proctest.Test{a.named("web").echo(), a.named("web").echo(),
		b.named("web").echo()}
	client := b.named("client")
	out := client.run(program(t, "probe"), "lookup", "web")
	addrs := strings.Fields(out)
	if len(addrs) != 2*len(servers) { // IPv4 and IPv6
		t.Fatalf("web is %q, want %d addresses", addrs, 2*len(servers))
	}
	a.inPrefix("web", addrs...)
	// Any of them may be the first of an answer: 60 clients miss one of three in a run of
	// 10 billion.
	asked := 0
	for range 20 * len(servers) {
		client.run(program(t, "probe"), "dial", "web:7")
		asked = 0
		for _, s := range servers {
			if strings.Contains(s.Out.String(), "accepted ") {
				asked++
			}
		}
		if asked == len(servers) {
			break
		}
	}
	if asked < len(servers) {
		t.Errorf("only %d of %d servers were ever asked", asked, len(servers))
	}
	servers[0].Stop(syscall.SIGTERM)
	left := client.run(program(t, "probe"), "lookup", "web")
	if got := strings.Fields(left); len(got) != 2*(len(servers)-1) {
		t.Errorf("after one left, web is %q", got)
	}
}

func TestNodeID(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	addr := db.address().String()
	found := 0
	for id := 1; id <= 5 && found == 0; id++ {
		p := app.start(program(t, "probe"), "lookup", fmt.Sprintf("node-%d", id))
		if p.Wait(proctest.Patience) == 0 &&
			slices.Contains(strings.Fields(p.Out.String()), addr) {
			found = id
		}
	}
	if found == 0 {
		t.Fatalf("no node-ID of 1 to 5 is %s", addr)
	}
	app.reach(fmt.Sprintf("node-%d:7", found))
}

// TestLookupLanguages asks by the resolvers of more runtimes, for both families where
// they do so, and for the own name.
func TestLookupLanguages(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	addr := db.address().String()
	const node = `
const dns = require("dns");
dns.lookup("db", {family: 4}, (e, a) => { console.log(e ? e.code : a);
dns.resolve4("db", (e, a) => { console.log(e ? e.code : a.join()); // c-ares
dns.reverse(process.argv[1], (e, a) => { console.log(e ? e.code : a.join());
dns.resolve4("nosuch", (e, a) => console.log(e ? e.code : a.join())); }); }); });`
	for _, tc := range []struct {
		name string
		argv []string
		want string
	}{
		{"Node", []string{"node", "-e", node, addr},
			addr + "\n" + addr + "\ndb\nENOTFOUND\n"},
		{"Erlang", []string{"erl", "-noinput", "-eval", `
{ok, A} = inet:getaddr("db", inet), io:format("~s~n", [inet:ntoa(A)]),
{ok, H} = inet:gethostname(), io:format("~s~n", [H]),
io:format("~p~n", [inet:getaddr("nosuch", inet)]), halt().`}, addr + "\napp\n{error,nxdomain}\n"},
		{"Python, own name", []string{"/usr/bin/python3", "-c", `
import socket
print(socket.gethostname(), socket.getfqdn())
print(socket.gethostbyname(socket.gethostname()) == socket.gethostbyname("app"))`}, "app app\nTrue\n"},
		{"hostname", []string{"sh", "-c", "hostname; hostname -f; hostname -s; uname -n"},
			"app\napp\napp\napp\n"},
		{"getent", []string{"sh", "-c", "getent ahostsv4 db | awk '{print $1}' | sort -u; getent hosts nosuch; echo $?"}, addr + "\n2\n"},
		{"host file", []string{"getent", "hosts", "localhost"}, ""},
		{"trailing dot", []string{program(t, "probe"), "lookup", "db."}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			natlab.NeedCommands(t, tc.argv[0])
			out := app.with(t).run(tc.argv[0], tc.argv[1:]...)
			if tc.want != "" && out != tc.want {
				t.Errorf("got %q, want %q", out, tc.want)
			}
			if tc.name == "trailing dot" && !strings.Contains(out, addr+"\n") {
				t.Errorf("got %q, want %s", out, addr)
			}
			if tc.name == "host file" && !strings.Contains(out, "localhost") {
				t.Errorf("got %q", out)
			}
		})
	}
	t.Run("Java", func(t *testing.T) {
		natlab.NeedCommands(t, "java")
		app := app.with(t)
		out := app.run("java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-cp",
			filepath.Dir(program(t, "Interfaces.class")), "Interfaces")
		own := strings.TrimSpace(app.python("import socket; print(socket.gethostbyname(socket.gethostname()))"))
		if prefix, _, _ := strings.Cut(own, "."); !strings.Contains(out,
			"host app "+prefix+".") {
			t.Errorf("getLocalHost: %q, want app and an address as %s", out, own)
		}
	})
}

// TestSearchDomains has a resolv.conf with search domains, which glibc tries first for
// names without dots.
func TestSearchDomains(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	addr := db.address().String()
	for _, options := range []string{"options timeout:1 single-request\n",
		"options ndots:3 use-vc edns0 timeout:1\n"} {
		if err := app.host.SetResolvConf("nameserver 192.0.2.53\nsearch example.com internal\n" + options); err != nil {
			t.Fatal(err)
		}
		out := app.python(`import socket; print(socket.gethostbyname("db"))`)
		if out != addr+"\n" {
			t.Errorf("%q: got %q, want %s", options, out, addr)
		}
	}
}

// TestNameThatAppears looks up a name that nobody has, until somebody has it: the refusal
// is not kept.
func TestNameThatAppears(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "later", "app")
	p := app.start("/usr/bin/python3", "-u", "-c", `
import socket, time
seen = 0
while True:
    try:
        print("found", socket.gethostbyname("later"))
        break
    except socket.gaierror:
        seen += 1
        if seen == 3:
            print("not there")
    time.sleep(0.02)`)
	p.Expect(`^not there$`)
	db.echo()
	began := time.Now()
	m := p.Expect(`^found (\S+)$`)
	if took := time.Since(began); took > lookupLimit { // of the last that found nothing
		t.Errorf("found %v after it had joined", took)
	}
	app.inPrefix("later", m[1])
}
