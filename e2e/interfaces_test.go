package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestInterfaces asks in several languages which network interfaces there are: loopback,
// and the one that others reach the node at.
func TestInterfaces(t *testing.T) {
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	addr := db.address().String()
	for _, tc := range []struct {
		name string
		argv []string
	}{
		{"Go", []string{program(t, "probe"), "interfaces", "ip4"}},
		{"musl", []string{program(t, "interfaces")}},
		{"Python", []string{"/usr/bin/python3", "-c", `
import fcntl, socket, struct
s = socket.socket()
def ask(request, name):
    return socket.inet_ntoa(fcntl.ioctl(s, request, struct.pack("256s", name.encode()))[20:24])
for _, name in socket.if_nameindex():
    try:
        mask = struct.unpack(">I", socket.inet_aton(ask(0x891b, name)))[0]
        print(name, ask(0x8915, name) + "/" + str(bin(mask).count("1")))
    except OSError:
        pass  # no address`}},
		{"Node", []string{"node", "-e", `
for (const [name, addrs] of Object.entries(require("os").networkInterfaces()))
    for (const a of addrs.filter(a => a.family == "IPv4")) console.log(name, a.cidr)`}},
		{"Java", []string{"java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-cp",
			"{dir}", "Interfaces"}},
		{"Erlang", []string{"erl", "-noinput", "-eval", `
{ok, All} = inet:getifaddrs(),
Bits = fun(Mask) -> length([B || <<B:1>> <= list_to_binary(tuple_to_list(Mask)), B =:= 1]) end,
[io:format("~s ~s/~b~n", [Name, inet:ntoa(A), Bits(M)]) ||
    {Name, Opts} <- All, {{addr, A}, {netmask, M}} <- lists:zip([O || O = {addr, _} <- Opts], [O || O = {netmask, _} <- Opts]),
    tuple_size(A) =:= 4],
halt().`}},
		{"ip", []string{"sh", "-c", `ip -oneline -4 address | while read -r _ name _ addr _; do echo "$name $addr"; done`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			natlab.NeedCommands(t, tc.argv[0])
			argv := tc.argv
			if tc.name == "Java" {
				argv = fields(strings.Join(argv, "\n"), "{dir}",
					filepath.Dir(program(t, "Interfaces.class")))
			}
			db := db.with(t).named("db")
			if !native {
				db = db.named("other")
			}
			lines := strings.Split(strings.TrimSpace(db.run(argv[0], argv[1:]...)), "\n")
			lines = slices.DeleteFunc(lines,
				func(l string) bool { return strings.HasPrefix(l, "host ") })
			slices.Sort(lines)
			if len(lines) != 2 {
				t.Fatalf("the interfaces are %q, want two with IPv4 addresses", lines)
			}
			own, lo := strings.Fields(lines[0]), lines[1]
			if lo != "lo 127.0.0.1/8" || len(own) != 2 {
				t.Fatalf("the interfaces are %q", lines)
			}
			ip, _, _ := strings.Cut(own[1], "/")
			db.inPrefix(own[0], ip)
			if !native && own[0] != "boxer0" || ip == addr != native {
				t.Errorf("the node has %q, db is %s", own, addr)
			}
		})
	}
	t.Run("hostname", func(t *testing.T) {
		out := db.with(t).named("third").run("sh", "-c",
			"hostname -I; hostname -i; hostname; getent hosts $(hostname)")
		f := strings.Fields(out)
		if len(f) < 7 {
			t.Fatalf("got %q", out)
		}
		four, six := f[0], f[1]
		app.inPrefix("hostname -I", four, six)
		if !native && !slices.Equal(f[2:], []string{four, six, "third", six, "third"}) {
			t.Errorf("got %q", out)
		}
	})
}

// TestProcNet asks programs that read /proc/net for the host's interfaces: they agree
// with those that getifaddrs(3) tells. Without CAP_SYS_ADMIN boxer shows them only to
// programs that open files as fopen(3) does; psutil does not, and sysfs is the machine's.
func TestProcNet(t *testing.T) {
	natlab.NeedCommands(t, "ifconfig", "netstat", "java")
	f := newCloud(t).function("app", punchable)
	classes := filepath.Dir(program(t, "Interfaces.class"))
	for _, user := range []string{"root", "nobody"} {
		t.Run(user, func(t *testing.T) {
			f := f.with(t)
			if user != "root" {
				f = f.as(user)
			}
			want := strings.Fields(f.python(`import socket; print(*sorted(n for _, n in socket.if_nameindex()))`))
			for _, tc := range []struct {
				name string
				argv []string
			}{
				{"ifconfig", []string{"sh", "-c", "ifconfig -a -s | tail -n +2 | cut -d' ' -f1"}},
				{"netstat", []string{"sh", "-c",
					"echo lo; netstat -rn | tail -n +3 | awk '{print $8}'"}},
				{"netstat for IPv6", []string{"sh", "-c",
					"netstat -6rn | tail -n +3 | awk '{print $7}'"}},
				{"shell", []string{"sh", "-c",
					"while read -r name _; do echo ${name%:}; done < /proc/net/dev | tail -n +3"}},
				{"sysfs", []string{"ls", "/sys/class/net"}},
				{"psutil", []string{"/usr/bin/python3", "-c", `
import psutil
print(*psutil.net_io_counters(pernic=True), *psutil.net_if_addrs(), *psutil.net_if_stats())`}},
				{"Java", []string{"java", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1",
					"-cp", classes, "Interfaces"}},
			} {
				if user != "root" && (tc.name == "psutil" || tc.name == "sysfs") ||
					native && tc.name == "sysfs" {
					continue // the lab's hosts have the machine's sysfs
				}
				out := f.run(tc.argv[0], tc.argv[1:]...)
				// a line for each address, and nothing that is wrong
				if tc.name == "Java" {
					before, _, _ := strings.Cut(out, "\nhost ")
					out = ""
					for line := range strings.Lines(before) {
						name, rest, _ := strings.Cut(line, " ")
						if out += name + " "; !strings.Contains(rest, "/") ||
							strings.Contains(rest, " ") {
							t.Errorf("Java: %s", line)
						}
					}
				}
				got := strings.Fields(out)
				slices.Sort(got)
				if got = slices.Compact(got); !slices.Equal(got, want) {
					t.Errorf("%s has %q, getifaddrs %q", tc.name, got, want)
				}
			}
		})
	}
}

// TestSocketLists looks for a program's sockets in the kernel's lists, which ss and
// netstat show: they have the addresses that the program knows.
func TestSocketLists(t *testing.T) {
	natlab.NeedCommands(t, "netstat", "ss")
	f := newCloud(t).function("app", punchable)
	for _, user := range []string{"root", "nobody"} {
		t.Run(user, func(t *testing.T) {
			f := f.with(t)
			if user != "root" {
				f = f.as(user)
			}
			got := f.run("/usr/bin/python3", "-c", `
import socket, subprocess
any = socket.create_server(("0.0.0.0", 7041))
six = socket.create_server(("::", 7042), family=socket.AF_INET6, dualstack_ipv6=True)
own = socket.gethostbyname(socket.gethostname())
client = socket.create_connection((own, 7041))
names = {"%s:%d" % client.getsockname(): "client", "%s:%d" % client.getpeername(): "server"}
for command in "ss -Htan sport = :7041 or sport = :7042", "netstat -tan":
    for line in subprocess.check_output(command.split(" ", 2), text=True).splitlines():
        words = line.split()
        if ":704" in line:
            local, remote = words[3:5]
            print(command.split()[0], names.get(local, local), names.get(remote, remote))`)
			lines := strings.Split(strings.TrimSpace(got), "\n")
			slices.Sort(lines)
			want := []string{"netstat 0.0.0.0:7041 0.0.0.0:*", "netstat :::7042 :::*",
				"netstat client server", "netstat server client", "ss *:7042 *:*",
				"ss 0.0.0.0:7041 0.0.0.0:*", "ss server client"}
			if !slices.Equal(lines, want) {
				t.Errorf("got\n%swant\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}
