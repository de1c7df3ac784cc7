package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/launcher"
)

// Where a coordinator listens if it is not told.
const (
	defaultListen = "0.0.0.0:4433"
	defaultPort   = 4433
)

type coordinatorFlags struct {
	listen, prefix, prefix6, joinFile, host, state, status string
	dataPath, policy, audit, tls                           string
	lease, idleExit, tokenTTL                              time.Duration
	quiet                                                  bool
}

func coordinatorCommand() *cobra.Command {
	var f coordinatorFlags
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Admit nodes to a network and help them find each other",
		Long: `Admit nodes to a network, assign addresses and names, and help the nodes punch paths
through NATs. Where punching is impossible, the coordinator relays packets, which
remain encrypted end to end. It needs one UDP port that all nodes can reach.

When the coordinator is ready, it prints the join URL. Anybody who has the join URL
can join: keep it secret. If you start the coordinator again with the same state
file, it has the same URL, and running nodes come back to it.`,
		Example: `  boxer coordinator --listen 203.0.113.1:4433 --join-file join.url
  boxer coordinator --host coordinator.example.com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.idleExit > 0 { // started by a node, which may have a service's sockets
				launcher.CloseInherited()
			}
			return f.serve(cmd.Context())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", defaultListen, "UDP `ADDR:PORT` to listen on")
	fl.StringVar(&f.prefix, "prefix", "", fmt.Sprintf("`CIDR` of the virtual IPv4 "+
		"addresses (default %v, or another "+
		"one if this host has an address in it)", coordinator.DefaultPrefix))
	fl.StringVar(&f.prefix6, "prefix6", "", fmt.Sprintf("`CIDR` of the virtual IPv6 "+
		"addresses; none: no IPv6 "+
		"(default %v, or another one if this host has an address in it)",
		coordinator.DefaultPrefix6))
	fl.StringVar(&f.joinFile, "join-file", "", "write the join URL to `FILE` (mode "+
		"0600) when ready, and remove it at the end")
	fl.StringVar(&f.host, "host", "", "`HOST[:PORT]` of the join URL, under which "+
		"nodes reach this host (default: the listening address)")
	fl.StringVar(&f.state, "state", "", "keep key and tokens in `FILE`, mode 0600 "+
		"(default: $XDG_STATE_HOME/boxer/coordinator-PORT.json)")
	fl.StringVar(&f.policy, "policy", "", "say who may connect to whose ports by the "+
		"policy in `FILE`, which is read again when it changes (default: what boxer "+
		"coordinator policy apply has stored, else everybody to everything)")
	fl.StringVar(&f.audit, "audit", "", "append a JSON line to `FILE` for each join, "+
		"refusal, eviction, and change of tokens or policy (default: none)")
	fl.StringVar(&f.tls, "tls-listen", "",
		"serve nodes that cannot use UDP by TLS at the "+
			"TCP `ADDR:PORT`; nodes try port 443 and the port of the join URL (default: none)")
	fl.StringVar(&f.status, "status-listen", "", "serve HTTP status, /healthz and "+
		"/status, at the TCP `ADDR:PORT` (default: none)")
	fl.DurationVar(&f.lease, "lease", coordinator.DefaultLease,
		"remove a node that has been silent for this `DURATION`")
	fl.DurationVar(&f.idleExit, "idle-exit", 0,
		"end after this `DURATION` without a node (default: never)")
	fl.DurationVar(&f.tokenTTL, "token-ttl", 0,
		"let the token of the printed join URL expire after this `DURATION`; the "+
			"token in "+
			"the join file does not expire (default: never)")
	fl.StringVar(&f.dataPath, "data-path", string(coordinator.DataPathQUIC),
		"`HOW` connections between nodes travel: quic, or direct: by the kernel's TCP, "+
			"IN THE CLEAR, where TCP reaches one host from the other, and else by QUIC")
	fl.BoolVar(&f.quiet, "quiet", false, "do not print the join URL")
	cmd.AddCommand(tokenCommand(), evictCommand(), coordinatorPolicyCommand())
	return cmd
}

func (f *coordinatorFlags) serve(ctx context.Context) error {
	level := slog.LevelInfo // joins and departures
	if f.quiet && f.idleExit > 0 {
		level = slog.LevelWarn // a coordinator that a node has started
	}
	log, err := loggerAt(level)
	if err != nil {
		return err
	}
	listen, err := netip.ParseAddrPort(f.listen)
	if err != nil {
		return fmt.Errorf("--listen %q: not ADDR:PORT with an IP address, such as %s",
			f.listen,
			defaultListen)
	}
	if err := f.checkTimes(); err != nil {
		return err
	}
	prefix, prefix6, err := f.prefixes()
	if err != nil {
		return err
	}
	dataPath, err := coordinator.ParseDataPath(f.dataPath)
	if err != nil {
		return fmt.Errorf("--data-path %w", err)
	}
	path := f.state
	if path == "" {
		if path, err = defaultState(listen.Port()); err != nil {
			return err
		}
	}
	state, err := coordinator.LoadOrCreateState(path)
	if err != nil {
		return err
	}
	socket, err := state.Listen(listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", f.listen, err)
	}
	defer socket.Close()
	host, err := f.joinHost(socket.LocalAddr())
	if err != nil {
		return err
	}
	server, err := coordinator.NewServer(coordinator.ServerConfig{
		Socket: socket, State: state, Prefix: prefix, Prefix6: prefix6, Lease: f.lease,
		DataPath: dataPath,
		IdleExit: f.idleExit,
		JoinFile: f.joinFile, Host: host, StatusListen: f.status, Version: version,
		AdminSocket: coordinator.AdminSocket(path), PolicyFile: f.policy,
		AuditFile: f.audit, TLSListen: f.tls, Logger: log,
	})
	if err != nil {
		return err
	}
	if !f.quiet {
		if err := f.printURL(server, state, host); err != nil {
			return err
		}
	}
	return server.Serve(ctx)
}

// printURL prints the join URL.
func (f *coordinatorFlags) printURL(server *coordinator.Server, state *coordinator.State,
	host string) error {
	url, err := server.JoinURL(host)
	if f.tokenTTL > 0 && (err == nil || errors.Is(err, coordinator.ErrExpired)) {
		var t coordinator.Token
		t, err = state.AddToken(f.tokenTTL)
		url = coordinator.JoinURL{Token: t.Secret, Host: host, Pin: state.Pin()}
	}
	if errors.Is(err, coordinator.ErrExpired) {
		noDefaultToken()
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Println(url.String())
	return err
}

// defaultState is the state file of a coordinator on this port.
func defaultState(port uint16) (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", errors.New("state file: neither XDG_STATE_HOME nor HOME is " +
				"set; name a file with --state FILE")
		}
		dir = filepath.Join(home, ".local", "state")
	}
	dir = filepath.Join(dir, "boxer")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w; name a file elsewhere with "+
			"--state FILE", err)
	}
	return filepath.Join(dir, "coordinator-"+strconv.Itoa(int(port))+".json"), nil
}
