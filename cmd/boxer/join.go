package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// joinFlag adds --join to a command.
func joinFlag(cmd *cobra.Command) *pflag.Flag {
	cmd.Flags().String("join", "", "use the network whose join URL is in `@FILE`; a "+
		"URL on the command line is "+
		"visible to ps(1) (default $BOXER_JOIN, else the network of this user on "+
		"this host)")
	return cmd.Flags().Lookup("join")
}

// congestionFlag adds --congestion-control to a command that makes a node.
func congestionFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "congestion-control", "host",
		"congestion control `NAME` of the node's connections: bbr, cubic, reno, or "+
			"host: what "+
			"TCP uses on this host")
}

func parseCongestion(name string) (transport.Congestion, error) {
	c, err := transport.ParseCongestion(name)
	if err != nil {
		return c, fmt.Errorf("--congestion-control %w", err)
	}
	return c, nil
}

// A network is a network to join or to observe.
type network struct {
	url  coordinator.JoinURL
	from string // "--join", "BOXER_JOIN", or "" for that of this user on this host
}

// String says which network it is, without the token.
func (n network) String() string {
	if n.from == "" {
		return "network of this user on this host, coordinator " + n.url.Host
	}
	return "network of coordinator " + n.url.Host + ", from " + n.from
}

// errNoNetwork means that no flag or variable names a network, and that this user has
// none on this host.
var errNoNetwork = errors.New("this user has no network on this host; " +
	"boxer run starts one; name another network with --join @FILE or BOXER_JOIN")

// joinURL returns the join URL of the network to join. It starts the coordinator of
// this user on this host if that is needed and not there.
func joinURL(ctx context.Context, flag *pflag.Flag) (coordinator.JoinURL, error) {
	n, err := findNetwork(ctx, flag, spawnCoordinator)
	return n.url, err
}

// findNetwork returns the network that --join names, else BOXER_JOIN, else that of this
// user on this host. If that does not run, spawn starts its coordinator.
func findNetwork(ctx context.Context, flag *pflag.Flag,
	spawn func(state, join string) error) (n network, err error) {
	n.from = "--join"
	text := flag.Value.String()
	if !flag.Changed {
		var set bool
		if text, set = os.LookupEnv("BOXER_JOIN"); !set {
			n.from = ""
			n.url, err = coordinator.Implicit(ctx,
				coordinator.ImplicitConfig{Spawn: spawn})
			return n, err
		}
		n.from = "BOXER_JOIN"
	}
	if text == "" {
		return n, fmt.Errorf("%s is set but empty: use the join URL or @FILE, or "+
			"leave it "+
			"out to use the network of this user on this host", n.from)
	}
	from := n.from
	if path, ok := strings.CutPrefix(text, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return n, fmt.Errorf("%s: %w", from, err)
		}
		n.from += " " + text
		from += ": " + path
		if text = strings.TrimSpace(string(b)); text == "" {
			return n, fmt.Errorf("%s: the file is empty; the coordinator writes the "+
				"join URL "+
				"to its --join-file when it is ready", from)
		}
	}
	if n.url, err = coordinator.ParseJoinURL(text); err != nil {
		return n, fmt.Errorf("%s: %w", from, err)
	}
	return n, nil
}

// spawnCoordinator starts a coordinator for Implicit: detached, and ending by
// itself some time after its last node.
func spawnCoordinator(stateFile, joinFile string) error {
	log, err := os.OpenFile(coordinator.ImplicitLog(joinFile),
		os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "coordinator", "--listen", "127.0.0.1:0",
		"--state", stateFile, "--join-file", joinFile, "--quiet",
		"--idle-exit", coordinator.ImplicitIdleExit.String())
	cmd.Args[0] = "boxer"
	cmd.Dir = "/"
	cmd.Stderr = log
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
