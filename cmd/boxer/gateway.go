package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/launcher"
)

// gatewayFlags are those of boxer gateway and boxer expose.
type gatewayFlags struct {
	join       *pflag.Flag
	congestion string
}

func (g *gatewayFlags) register(cmd *cobra.Command) {
	g.join = joinFlag(cmd)
	congestionFlag(cmd, &g.congestion)
}

func gatewayCommand() *cobra.Command {
	var g gatewayFlags
	var publish []string
	cmd := &cobra.Command{
		Use:   "gateway [flags] --publish NAME:PORT=HOST:PORT",
		Short: "Bring hosts that do not run boxer into the network",
		Long: `Make hosts that do not run boxer, such as a managed database, nodes of the network:
programs connect to NAME:PORT, and the gateway connects to HOST:PORT for them, as this
machine can. The host outside sees this machine's address. A connection fails with the
error that this machine gets. The gateway carries TCP.`,
		Example: `  boxer gateway --publish db:5432=db.internal.example.com:5432 --publish cache:6379=10.0.0.5:6379`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(publish) == 0 {
				return usage(cmd, errors.New("--publish is missing"))
			}
			names := map[string]map[uint16]string{}
			for _, text := range publish {
				name, port, to, err := parseGateway(text)
				if err != nil {
					return err
				}
				if names[name] == nil {
					names[name] = map[uint16]string{}
				}
				if names[name][port] != "" {
					return fmt.Errorf("--publish %q: %s:%d leads elsewhere already", text,
						name, port)
				}
				names[name][port] = to
			}
			return g.run(cmd, names)
		},
	}
	g.register(cmd)
	cmd.Flags().StringArrayVar(&publish, "publish", nil, "lead a port of a node to a host outside: `NAME:PORT=HOST:PORT`")
	return cmd
}

// parseGateway reads NAME:PORT=HOST:PORT.
func parseGateway(text string) (name string, port uint16, to string, err error) {
	wrong := func(why string) (string, uint16, string, error) {
		return "", 0, "", fmt.Errorf("--publish %q: %s; use NAME:PORT=HOST:PORT, such as db:5432=10.0.0.5:5432", text, why)
	}
	from, to, ok := strings.Cut(text, "=")
	name, number, colon := strings.Cut(from, ":")
	n, e := strconv.ParseUint(number, 10, 16)
	if !ok || !colon || e != nil || n == 0 {
		return wrong("NAME:PORT is missing")
	}
	if name, err = coordinator.CheckName(name); err != nil {
		return wrong(err.Error())
	}
	if err := launcher.CheckGateway(to); err != nil {
		return wrong(err.Error())
	}
	return name, uint16(n), to, nil
}

func exposeCommand() *cobra.Command {
	var g gatewayFlags
	var name string
	cmd := &cobra.Command{
		Use:   "expose [flags] --name NAME [HOST:]PORT[=PORT]...",
		Short: "Give a port of a program that runs already a name in the network",
		Long: `Give ports of programs that run already, on this machine and without boxer, a name in
the network, until interrupted. Programs connect to NAME at PORT, or at the port after
the equals sign, and boxer expose connects to the program for them.`,
		Example: `  boxer expose 5432 --name db
  boxer expose --name web 8080=80`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			checked, err := coordinator.CheckName(name)
			if err != nil {
				return usage(cmd, fmt.Errorf("--name: %w", err))
			}
			ports := map[uint16]string{}
			for _, text := range args {
				port, to, err := parseExpose(text)
				if err != nil {
					return err
				}
				ports[port] = to
			}
			return g.run(cmd, map[string]map[uint16]string{checked: ports})
		},
	}
	g.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the node")
	return cmd
}

// parseExpose reads [HOST:]PORT[=PORT].
func parseExpose(text string) (port uint16, to string, err error) {
	from, as, renamed := strings.Cut(text, "=")
	host, number := "127.0.0.1", from
	if i := strings.LastIndex(from, ":"); i >= 0 {
		host, number = strings.Trim(from[:i], "[]"), from[i+1:]
	}
	if !renamed {
		as = number
	}
	for _, n := range []string{number, as} {
		p, err := strconv.ParseUint(n, 10, 16)
		if err != nil || p == 0 || host == "" {
			return 0, "", fmt.Errorf("expose %q: use [HOST:]PORT[=PORT], such as 5432 or 8080=80", text)
		}
		port = uint16(p)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return port, host + ":" + number, nil
}

// run is a node for each name, until one of them fails or the command is interrupted.
func (g *gatewayFlags) run(cmd *cobra.Command, names map[string]map[uint16]string) error {
	if err := notInside("run it outside"); err != nil {
		return err
	}
	log, err := logger()
	if err != nil {
		return err
	}
	congestion, err := parseCongestion(g.congestion)
	if err != nil {
		return err
	}
	join, err := joinURL(cmd.Context(), g.join)
	if err != nil {
		return err
	}
	launcher.ShareProcessors()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	errs := make(chan error, len(names))
	var all sync.WaitGroup
	for name, to := range names {
		all.Go(func() {
			defer cancel()
			errs <- launcher.Gateway(ctx,
				launcher.GatewayConfig{Name: name, Join: join, To: to,
					Version: version, Logger: log, Congestion: congestion,
					Ready: func(addr netip.Addr) {
						for port, host := range to {
							fmt.Fprintf(cmd.ErrOrStderr(), "boxer: %s:%d (%v) leads to %s\n",
								name, port, addr, host)
						}
					}})
		})
	}
	all.Wait()
	close(errs)
	var failed []error
	for err := range errs {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
