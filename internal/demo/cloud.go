package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// A cloud is where the demo runs: three machines, or one that takes the part of all.
type cloud struct {
	scene              string // what there is, for the reader
	public, db, client machine
	listen             string // the coordinator's ADDR:PORT

	dir       string // of all files
	url       string // how to join: secret
	processes []*proctest.Process
}

// A machine runs programs.
type machine struct {
	host *natlab.Host        // nil: this one
	cred *syscall.Credential // on this one: nil is whoever runs the demo

	// apart puts commands into a user namespace of their own, in which root has another
	// number (unshare(1)).
	apart bool
}

// command returns a command for the machine.
func (m machine) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	var cmd *exec.Cmd
	if m.apart {
		args = append([]string{"--user", "--map-user=1000", "--map-group=1000", "--",
			name}, args...)
		name = "unshare"
	}
	if m.host != nil {
		cmd = m.host.Command(ctx, name, args...)
	} else {
		cmd = exec.CommandContext(ctx, name, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.cred}
	}
	// When ctx ends, the command gets what Ctrl-C sends. It is killed if it stays.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = proctest.StopPatience
	return cmd
}

// as returns the machine whose commands run as a user.
func (m machine) as(u identity) (machine, error) {
	if m.host == nil {
		m.cred = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
		return m, nil
	}
	host, err := m.host.As(u.name)
	return machine{host: host}, err
}

// do calls f so that the processes that f starts run on the machine.
func (m machine) do(f func() error) error {
	if m.host == nil {
		return f()
	}
	return m.host.Do(f)
}

const coordinatorPort = 4433

// labCloud builds a public host and two functions behind NATs.
func labCloud(ctx context.Context, lab *natlab.Lab) (*cloud, error) {
	public, err := lab.Public(ctx, "public")
	if err != nil {
		return nil, err
	}
	db, err := lab.NATed(ctx, "db", natlab.NAT{})
	if err != nil {
		return nil, err
	}
	client, err := lab.NATed(ctx, "client", natlab.NAT{})
	if err != nil {
		return nil, err
	}
	var scene strings.Builder
	fmt.Fprintf(&scene, "A small cloud of network namespaces:\n\n")
	fmt.Fprintf(&scene, "  public   %-14s  boxer coordinator\n", public.Addr())
	for _, f := range []struct {
		host *natlab.Host
		what string
	}{{db, "boxer run --name db -- postgres"}, {client, "boxer run -- pgbench -h db"}} {
		fmt.Fprintf(&scene, "  %-7s  %-14s  %s\n", f.host.Name(), f.host.Addr(), f.what)
		fmt.Fprintf(&scene, "           behind the NAT %s, which drops everything unsolicited\n", f.host.External())
	}
	return &cloud{
		scene: strings.TrimSuffix(scene.String(), "\n"), public: machine{host: public},
		db: machine{host: db}, client: machine{host: client},
		listen: netip.AddrPortFrom(public.Addr(), coordinatorPort).String(),
	}, nil
}

// loopbackCloud runs everything on this machine.
func loopbackCloud(why string) *cloud {
	return &cloud{
		scene: fmt.Sprintf("All on this machine's loopback, each node a process of its own: %s.", why),
		// A port of the system's choice: another demo may run.
		listen: "127.0.0.1:0",
	}
}

// boxer returns the command that runs boxer on a machine, with the join URL in its
// environment: every user of the machine could read arguments.
func (c *cloud) boxer(ctx context.Context, m machine, args ...string) *exec.Cmd {
	cmd := m.command(ctx, c.binary(), args...)
	cmd.Env = c.environ()
	return cmd
}

func (c *cloud) binary() string { return filepath.Join(c.dir, "boxer") }

func (c *cloud) environ() []string {
	env := append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(c.dir, "state"),
		"LC_ALL=C")
	if c.url != "" {
		env = append(env, "BOXER_JOIN="+c.url)
	}
	return env
}

// joinURL matches the line that the coordinator prints when nodes can join.
var joinURL = regexp.MustCompile(`(?m)^boxer://\S+$`)

// startCoordinator starts the coordinator and reads its join URL.
func (c *cloud) startCoordinator(ctx context.Context) error {
	p, err := c.start("coordinator", c.boxer(ctx, c.public, "coordinator", "--listen", c.listen))
	if err != nil {
		return err
	}
	c.url, err = await(ctx, p, p.Out, joinURL)
	return err
}

// start starts a process that is stopped at the end of the demo, in reverse order.
func (c *cloud) start(name string, cmd *exec.Cmd) (*proctest.Process, error) {
	p, err := proctest.Start(name, cmd)
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return p, err
}

// stop ends all processes.
func (c *cloud) stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		// the report is complete: how they end is not part of it
		_ = c.processes[i].Stop(syscall.SIGINT)
	}
}
