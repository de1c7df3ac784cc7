package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/launcher"
)

func runCommand(code *int) *cobra.Command {
	var url, name string
	var publish, waitFor []string
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARG...]",
		Short: "Run a program as a node of the network",
		Long: `Run a program as a node of the network: it has an address and a name there, and
its sockets reach the other nodes and are reached by them. The program needs no
privileges and is not changed; it has the same files, terminal and signals as
without boxer, and boxer ends with its exit code.

Without CAP_SYS_ADMIN, setuid programs such as sudo keep the caller's identity
(no_new_privs, prctl(2)). When the program ends, what it left running is ended.

Exit codes: the program's; 128+N if signal N killed it; 127 if it was not found,
126 if it is not executable, 125 if boxer itself failed.`,
		Example: `  boxer run --name db -- postgres -D data
  boxer run --join "$(cat join.url)" -- psql -h db
  boxer run --name web --publish 8080:80 -- nginx -g 'daemon off;'
  boxer run --wait-for db --wait-for worker=3 -- ./job`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errNoCommand
			}
			cfg := launcher.RunConfig{Argv: args, Name: name}
			if cfg.Name == "" {
				cfg.Name = os.Getenv("BOXER_NAME")
			}
			var err error
			if cfg.Logger, err = logger(); err != nil {
				return err
			}
			for _, s := range publish {
				p, err := launcher.ParsePublish(s)
				if err != nil {
					return err
				}
				cfg.Publish = append(cfg.Publish, p)
			}
			for _, s := range waitFor {
				w, err := parseWaitFor(s)
				if err != nil {
					return err
				}
				cfg.WaitFor = append(cfg.WaitFor, w)
			}
			if cfg.Join, err = joinURL(cmd.Context(), url); err != nil {
				return err
			}
			*code, err = launcher.Run(cmd.Context(), cfg)
			return err
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	joinFlag(cmd, &url)
	f.StringVar(&name, "name", "", "the node's `NAME`; nodes may share one (default $BOXER_NAME, else node-ID)")
	f.StringArrayVar(&publish, "publish", nil, "make PORT of the node reachable on the host: `[ADDR:]HOSTPORT:PORT`")
	f.StringArrayVar(&waitFor, "wait-for", nil, "start when N nodes with that name are there: `NAME[=N]`")
	return cmd
}

func parseWaitFor(s string) (launcher.WaitFor, error) {
	name, count, ok := strings.Cut(s, "=")
	w := launcher.WaitFor{Name: name, Count: 1}
	if ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return w, fmt.Errorf("--wait-for %q: %q is not a number from 1; use NAME or NAME=N, such as worker=3", s, count)
		}
		w.Count = n
	}
	if name == "" {
		return w, fmt.Errorf("--wait-for %q: no name; use NAME or NAME=N, such as worker=3", s)
	}
	return w, nil
}
