package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// coordinatorPort is where the coordinator of a cloud listens.
const coordinatorPort = 7700

// punchable and symmetric are the NATs that functions sit behind.
var (
	punchable = natlab.NAT{Mapping: natlab.EndpointIndependent}
	symmetric = natlab.NAT{Mapping: natlab.Symmetric}
)

// A cloud is a lab with a coordinator on a public host. Run bare, it has hosts that are
// routed to each other, and their names in /etc/hosts.
type cloud struct {
	t           *testing.T
	lab         *natlab.Lab
	public      *natlab.Host // where the coordinator is
	coordinator *proctest.Test
	binary      string   // of the coordinator; empty: the one under test
	coordinated []string // more flags of the coordinator
	joinFile    string
	url         string
	prefix      netip.Prefix // of the IPv4 addresses that programs see
	prefix6     netip.Prefix // of the IPv6 addresses
	hosts       string       // run bare: the file that is /etc/hosts everywhere
}

// newCloud returns a cloud without functions.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	return newCloudOf(t, "")
}

// newCloudOf returns a cloud without functions, whose coordinator is another boxer, with
// these flags.
func newCloudOf(t *testing.T, binary string, flags ...string) *cloud {
	t.Helper()
	c := &cloud{t: t, lab: natlab.ForTest(t), binary: binary, coordinated: flags}
	if native {
		c.prefix, c.prefix6 = netip.MustParsePrefix("203.0.113.0/24"),
			netip.MustParsePrefix("2001:db8:5::/64")
		c.hosts = filepath.Join(tempDir(t), "hosts")
		write(t, c.hosts, "127.0.0.1 localhost\n")
		return c
	}
	c.prefix, c.prefix6 = netip.MustParsePrefix("10.111.0.0/16"),
		netip.MustParsePrefix("fd6f:7865:72::/64")
	c.public = must(c.t)(c.lab.Public(t.Context(), "public"))
	c.joinFile = filepath.Join(tempDir(t), "join")
	c.startCoordinator()
	return c
}

// startCoordinator starts the coordinator and waits until it is ready.
func (c *cloud) startCoordinator() {
	c.t.Helper()
	listen := netip.AddrPortFrom(c.public.Addr(), coordinatorPort).String()
	args := append([]string{"coordinator", "--listen", listen, "--join-file", c.joinFile,
		"--state", c.joinFile + ".state"}, c.coordinated...)
	cmd := c.public.Command(context.Background(), cmp.Or(c.binary, boxer), args...)
	c.coordinator = proctest.ForTest(c.t, "coordinator", cmd)
	c.url = c.coordinator.Expect(`^boxer://\S+$`)[0]
}

// A function is a machine that nobody reaches from outside, and the name of the node in
// it.
type function struct {
	*cloud
	t    *testing.T // may be a subtest of the cloud's
	host *natlab.Host
	name string

	flags  []string // for boxer run
	binary string   // of boxer; empty: the one under test
}

// function adds a function behind a NAT of its own.
func (c *cloud) function(name string, nat natlab.NAT) *function {
	c.t.Helper()
	if !native {
		return &function{cloud: c, t: c.t,
			host: must(c.t)(c.lab.NATed(c.t.Context(), name, nat)), name: name}
	}
	f := &function{cloud: c, t: c.t, host: must(c.t)(c.lab.Public(c.t.Context(), name)),
		name: name}
	six, err := f.host.AddIPv6(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	lines := fmt.Sprintf("%s %s\n%s %s\n", f.host.Addr(), name, six, name)
	// in place: mounts know the file by its inode
	write(c.t, c.hosts, read(c.t, c.hosts)+lines)
	err = f.host.Do(func() error { return unix.Mount(c.hosts, "/etc/hosts", "", unix.MS_BIND, "") })
	if err == nil {
		err = f.host.SetResolvConf("nameserver 127.0.0.1\n") // where nobody listens
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return f
}

// pair returns a cloud with two functions behind punchable NATs.
func pair(t *testing.T, server, client string) (*function, *function) {
	t.Helper()
	c := newCloud(t)
	return c.function(server, punchable), c.function(client, punchable)
}

// named returns the function for another node in it.
func (f *function) named(name string) *function {
	g := *f
	g.name = name
	return &g
}

// with returns the function for a subtest: it fails that one, and its programs end with
// it.
func (f *function) with(t *testing.T) *function {
	g := *f
	g.t = t
	return &g
}

// as returns the function as one of the system's users has it.
func (f *function) as(user string) *function {
	f.t.Helper()
	natlab.NeedUsers(f.t)
	g := *f
	g.host = must(f.t)(f.host.As(user))
	return &g
}

// command returns the command that runs a program as, or in, the function's node.
func (f *function) command(name string, args ...string) *exec.Cmd {
	if native {
		return f.host.Command(context.Background(), name, args...)
	}
	args = slices.Concat([]string{cmp.Or(f.binary, boxer), "run", "--name", f.name},
		f.flags, []string{"--", name}, args)
	if jail != nil {
		args = slices.Concat(jail, args)
	}
	cmd := f.host.Command(context.Background(), args[0], args[1:]...)
	// not an argument, which all users could read
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+f.url)
	return cmd
}

// start starts a program that runs until it is stopped.
func (f *function) start(name string, args ...string) *proctest.Test {
	f.t.Helper()
	return proctest.ForTest(f.t, f.name+": "+filepath.Base(name),
		f.command(name, args...))
}

// run runs a program, which must succeed within proctest.Patience, and returns what it
// wrote to standard output.
func (f *function) run(name string, args ...string) string {
	f.t.Helper()
	return f.runFor(proctest.Patience, name, args...)
}

// runFor is run with another limit.
func (f *function) runFor(limit time.Duration, name string, args ...string) string {
	f.t.Helper()
	p := f.start(name, args...)
	p.Stdin.Close()
	if status := p.Wait(limit); status != 0 {
		f.t.Fatalf("%s: %s %s: status %d\n%s%s", f.name, name, strings.Join(args, " "),
			status, p.Out.Tail(), p.Err.Tail())
	}
	return p.Out.String()
}

// python runs a script of Debian's Python with arguments.
func (f *function) python(text string, args ...string) string {
	f.t.Helper()
	return f.run("/usr/bin/python3", append([]string{"-c", text}, args...)...)
}

// reach waits until something accepts connections at target, NAME:PORT.
func (f *function) reach(target string) {
	f.t.Helper()
	f.run(program(f.t, "probe"), "wait", target)
}

// echo starts an echo server on port 7 and waits until it listens.
func (f *function) echo() *proctest.Test {
	f.t.Helper()
	p := f.start(program(f.t, "probe"), "echo", "0.0.0.0:7")
	p.Expect(`^listening on `)
	return p
}

// address returns the IPv4 address that programs know the function's node by.
func (f *function) address() netip.Addr {
	f.t.Helper()
	four, _ := f.addresses()
	return four
}

// addresses returns the addresses that programs know the function's node by.
func (f *function) addresses() (four, six netip.Addr) {
	f.t.Helper()
	out := f.named("asker").run(program(f.t, "probe"), "lookup", f.name)
	for _, text := range strings.Fields(out) {
		if a := parseAddr(f.t, text); a.Is4() {
			four = a
		} else {
			six = a
		}
	}
	if !f.prefix.Contains(four) || !f.prefix6.Contains(six) {
		f.t.Fatalf("%s has the addresses %q, want one in %v and one in %v", f.name, out,
			f.prefix, f.prefix6)
	}
	return four, six
}

// isAddress fails the test unless the text is one of the function's own addresses.
func (f *function) isAddress(what, text string) {
	f.t.Helper()
	if four, six := f.addresses(); parseAddr(f.t, text) != four &&
		parseAddr(f.t, text) != six {
		f.t.Errorf("%s is %s, want %v or %v", what, text, four, six)
	}
}

// inPrefix fails the test unless every text is an address that programs may see.
func (f *function) inPrefix(what string, texts ...string) {
	f.t.Helper()
	for _, text := range texts {
		if addr := parseAddr(f.t, text); !f.prefix.Contains(addr) &&
			!f.prefix6.Contains(addr) {
			f.t.Errorf("%s is %s, which is neither in %s nor in %s", what, addr, f.prefix,
				f.prefix6)
		}
	}
	if len(texts) == 0 {
		f.t.Errorf("%s: there is none", what)
	}
}

// must returns a function that returns a host, or fails the test.
func must(t *testing.T) func(*natlab.Host, error) *natlab.Host {
	return func(h *natlab.Host, err error) *natlab.Host {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
}

func parseAddr(t *testing.T, text string) netip.Addr {
	t.Helper()
	addr, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return addr.Unmap()
}

// tempDir returns a directory that every user may enter, gone after the test.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "boxer-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
