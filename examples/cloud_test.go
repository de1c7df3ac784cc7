package examples

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// coordinatorPort is where the coordinator of a cloud listens.
const coordinatorPort = 7700

// virtual is the prefix of the addresses that nodes have on the network.
var virtual = netip.MustParsePrefix("10.111.0.0/16")

// punchable and symmetric are the NATs that functions sit behind.
var (
	punchable = natlab.NAT{Mapping: natlab.EndpointIndependent}
	symmetric = natlab.NAT{Mapping: natlab.Symmetric}
)

// A cloud is a lab with a coordinator on a public host.
type cloud struct {
	t     *testing.T
	lab   *natlab.Lab
	boxer string
	url   string // to join with
}

// newCloud returns a cloud without functions. It skips the test if a command that the
// test needs is not installed.
func newCloud(t *testing.T, commands ...string) *cloud {
	t.Helper()
	natlab.NeedCommands(t, commands...)
	c := &cloud{t: t, boxer: findBoxer(t), lab: natlab.ForTest(t)}
	public := c.host(c.lab.Public(t.Context(), "public"))
	listen := netip.AddrPortFrom(public.Addr(), coordinatorPort).String()
	c.url = proctest.ForTest(t, "coordinator",
		public.Command(context.Background(), c.boxer, "coordinator", "--listen", listen,
			"--state", filepath.Join(t.TempDir(), "state"))).
		Expect(`^boxer://\S+$`)[0]
	return c
}

// host returns h, or fails the test.
func (c *cloud) host(h *natlab.Host, err error) *natlab.Host {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// A function is a machine that nobody reaches from outside, and the name of the node in
// it.
type function struct {
	*cloud
	host *natlab.Host
	name string
	env  []string // of its programs, besides the test's own
}

// function adds a function behind a NAT of its own. The node in it has the host's name.
func (c *cloud) function(name string) *function {
	c.t.Helper()
	return c.behind(punchable, name, name)
}

// replacement adds a function for a node called name, which has or had other functions
// already.
func (c *cloud) replacement(name, host string) *function {
	c.t.Helper()
	return c.behind(punchable, name, host)
}

// behind adds a function behind a NAT of that kind.
func (c *cloud) behind(nat natlab.NAT, name, host string) *function {
	c.t.Helper()
	return &function{cloud: c, host: c.host(c.lab.NATed(c.t.Context(), host, nat)),
		name: name}
}

// command returns the command that runs a program as, or in, the function's node.
func (f *function) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := f.host.Command(ctx, f.boxer, append([]string{"run", "--name", f.name, "--"}, args...)...)
	cmd.Env = append(append(os.Environ(), "BOXER_JOIN="+f.url), f.env...)
	return cmd
}

// start starts a program that runs until it is stopped.
func (f *function) start(args ...string) *proctest.Test {
	f.t.Helper()
	return proctest.ForTest(f.t, f.name+": "+filepath.Base(args[0]),
		f.command(context.Background(), args...))
}

// try runs a program and returns what it wrote to standard output. It fails if the
// program does, or if it takes longer than proctest.Patience.
func (f *function) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), proctest.Patience)
	defer cancel()
	out, err := f.command(ctx, args...).Output()
	return string(out), err
}

// run is try for a program that must succeed.
func (f *function) run(args ...string) string {
	f.t.Helper()
	out, err := f.try(args...)
	if err != nil {
		f.t.Fatalf("%s: %q: %v\n%s", f.name, args, err, out)
	}
	return out
}

// eventually calls f until it returns no error, and returns how long that took.
func eventually(t *testing.T, what string, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began).Round(time.Millisecond)
		}
		if time.Since(began) > proctest.Patience {
			t.Fatalf("%s: not in %v: %v", what, proctest.Patience, err)
		}
		// between two looks: programs of others announce no events
		time.Sleep(100 * time.Millisecond)
	}
}
