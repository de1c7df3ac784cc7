package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// joinFlag adds --join to a command.
func joinFlag(cmd *cobra.Command, url *string) {
	cmd.Flags().StringVar(url, "join", "",
		"join `URL` of the network, or @FILE with the URL in it (default $BOXER_JOIN, else the network of this user on this host)")
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

// joinURL finds the network to join: flag, environment, or the coordinator of
// this user on this host, which is started if it is not there.
func joinURL(ctx context.Context, flag string) (coordinator.JoinURL, error) {
	flag = strings.Clone(flag) // hideArgument overwrites the argument that it is a part of
	text := flag
	from := "--join"
	if text == "" {
		text, from = os.Getenv("BOXER_JOIN"), "BOXER_JOIN"
	}
	if text == "" {
		return coordinator.Implicit(ctx, coordinator.ImplicitConfig{Spawn: spawnCoordinator})
	}
	hideArgument(flag)
	if path, ok := strings.CutPrefix(text, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return coordinator.JoinURL{}, fmt.Errorf("%s: %w", from, err)
		}
		text = strings.TrimSpace(string(b))
	}
	u, err := coordinator.ParseJoinURL(text)
	if err != nil {
		return u, fmt.Errorf("%s: %w", from, err)
	}
	return u, nil
}

// hideArgument overwrites an argument in this process's memory, where ps(1)
// reads it: a join URL holds a token. flag has to be a copy.
func hideArgument(flag string) {
	for _, a := range os.Args[1:] {
		if len(flag) == 0 || !strings.HasSuffix(a, flag) {
			continue
		}
		// The runtime's strings are the kernel's memory of the arguments, which
		// is writable.
		b := unsafe.Slice(unsafe.StringData(a), len(a))
		for i := len(a) - len(flag); i < len(a); i++ {
			b[i] = '*'
		}
	}
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
