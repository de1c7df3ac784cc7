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
	cmd.Flags().String("join", "", "the network: `@FILE` with its join URL, or the URL, which ps(1) may show "+
		"(default $BOXER_JOIN, else the network of this user on this host)")
	return cmd.Flags().Lookup("join")
}

// congestionFlag adds --congestion-control to a command that makes a node.
func congestionFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "congestion-control", "host",
		"how the node's connections find their rate: bbr, cubic or reno; host: as this host's TCP (`NAME`)")
}

func parseCongestion(name string) (transport.Congestion, error) {
	c, err := transport.ParseCongestion(name)
	if err != nil {
		return c, fmt.Errorf("--congestion-control %w", err)
	}
	return c, nil
}

// A network is a network to join, or to look at.
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

// errNoNetwork means that nobody has named a network, and none of this user runs on
// this host.
var errNoNetwork = errors.New("no network of this user runs on this host; " +
	"boxer run starts one; for another network use --join @FILE or BOXER_JOIN")

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
		return n, fmt.Errorf("%s is set, and empty: use the join URL or @FILE, or leave it "+
			"out for the network of this user on this host", n.from)
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
			return n, fmt.Errorf("%s: the file is empty: the coordinator's --join-file "+
				"has the join URL as soon as it runs", from)
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
