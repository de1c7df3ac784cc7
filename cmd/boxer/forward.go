package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/launcher"
)

func forwardCommand() *cobra.Command {
	var join *pflag.Flag
	var congestion string
	var wait bool
	cmd := &cobra.Command{
		Use:   "forward [ADDR:]PORT NAME:PORT",
		Short: "Forward a port of this machine into the network",
		Long: `Listen on a TCP port of this machine (on 127.0.0.1 if no address is given) and
forward each connection to a port of a node. If no node has that name, forward
fails; with --wait it waits for one.`,
		Example: `  boxer forward 5432 db:5432          # then: psql -h 127.0.0.1
  boxer forward 0.0.0.0:8080 web:80`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeForward,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := parseForward(args[0], args[1])
			if err != nil {
				return err
			}
			if err := notInside(fmt.Sprintf("connect to %s directly, or run boxer "+
				"forward outside",
				args[1])); err != nil {
				return err
			}
			cfg.Version, cfg.Wait = version, wait
			if cfg.Logger, err = logger(); err != nil {
				return err
			}
			if cfg.Congestion, err = parseCongestion(congestion); err != nil {
				return err
			}
			if cfg.Join, err = joinURL(cmd.Context(), join); err != nil {
				return err
			}
			cfg.Ready = func(addr net.Addr) {
				fmt.Fprintf(cmd.ErrOrStderr(), "boxer: forwarding %v to "+
					"%s\n", addr, args[1])
			}
			launcher.ShareProcessors()
			return launcher.Forward(cmd.Context(), cfg)
		},
	}
	join = joinFlag(cmd)
	congestionFlag(cmd, &congestion)
	cmd.Flags().BoolVar(&wait, "wait", false,
		"wait until a node with that name has joined")
	return cmd
}

func parseForward(from, to string) (launcher.ForwardConfig, error) {
	var cfg launcher.ForwardConfig
	listen := from
	if !strings.Contains(listen, ":") {
		listen = "127.0.0.1:" + listen
	}
	_, port, err := net.SplitHostPort(listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return cfg, fmt.Errorf("forward from %q: not [ADDR:]PORT, such as 8080 or "+
			"0.0.0.0:8080", from)
	}
	name, port, err := net.SplitHostPort(to)
	var n uint64
	if err == nil {
		n, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || name == "" || n == 0 {
		return cfg, fmt.Errorf("forward to %q: not NAME:PORT, such as db:5432", to)
	}
	if _, e := netip.ParseAddr(name); e != nil {
		if name, err = coordinator.CheckTarget(name); err != nil {
			return cfg, fmt.Errorf("forward to %q: %w; use NAME:PORT, such as "+
				"db:5432", to, err)
		}
	}
	cfg.Listen, cfg.Name, cfg.Port = listen, name, uint16(n)
	return cfg, nil
}
