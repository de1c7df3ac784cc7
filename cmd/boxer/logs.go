package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/host/control"
)

func logsCommand() *cobra.Command {
	var r reach
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs [flags] NODE",
		Short: "Show the output of a node's program",
		Long: `Show the last part of what the program of a node has written. Boxer keeps 1 MiB of the
output of nodes that were started with --detach, --on or --keep-output. If several nodes
have the name, each line begins with the node's.`,
		Example: `  boxer logs db
  boxer logs -f --lines 20 worker`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			defer r.close()
			targets, err := r.find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var mu sync.Mutex
			return each(targets, func(t target) error {
				out := control.Streams{Stdout: os.Stdout, Stderr: os.Stderr}
				if len(targets) > 1 {
					label := fmt.Sprintf("%s/%d", t.member.Name, t.member.ID)
					stdout := host.NewPrefixer(&mu, os.Stdout, label)
					stderr := host.NewPrefixer(&mu, os.Stderr, label)
					defer stderr.Flush()
					defer stdout.Flush()
					out = control.Streams{Stdout: stdout, Stderr: stderr}
				}
				s, err := t.open(cmd.Context())
				if err != nil {
					return err
				}
				if err := s.Logs(cmd.Context(), lines, follow, out); err != nil {
					return fmt.Errorf("node %s: %w", t.member.Name, err)
				}
				return nil
			})
		},
	}
	r.join = joinFlag(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the program ends")
	cmd.Flags().IntVarP(&lines, "lines", "n", -1, "begin with the last `N` lines (default all that is kept)")
	return cmd
}

// each calls f for each target at once.
func each(targets []target, f func(target) error) error {
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() { errs[i] = f(t) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func attachCommand(code *int) *cobra.Command {
	var r reach
	var lines int
	cmd := &cobra.Command{
		Use:   "attach [flags] NODE",
		Short: "Follow a node's program as if it ran here",
		Long: `Follow the output of the program of a node, pass signals on to it (ctrl-C ends it), and
end with its exit code, as the boxer run that has started it would. It is for nodes of
boxer run --detach, and of boxer run --on whose launcher has died (--on-disconnect
keep). SIGQUIT and SIGKILL end boxer attach alone, and the program goes on.`,
		Example:           `  boxer attach db`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			defer r.close()
			t, err := r.one(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 16)
			notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1,
				unix.SIGUSR2)
			defer forget(signals)
			result, err := s.Attach(cmd.Context(), lines, control.Streams{Stdout: os.Stdout,
				Stderr: os.Stderr, Signals: signals})
			*code = result.Code
			return err
		},
	}
	r.join = joinFlag(cmd)
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "begin with the last `N` lines; -1: all that is kept")
	return cmd
}

// stopGrace is how long a program may take to end by default.
const stopGrace = 10 * time.Second

func stopCommand() *cobra.Command {
	var r reach
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "stop [flags] NODE...",
		Short: "End the programs of nodes",
		Long: `End the programs of nodes, on this host or elsewhere: by SIGTERM, and by SIGKILL where
that does not end them within --grace. Stop waits until they have ended. All nodes of a
name are meant.`,
		Example: `  boxer stop db
  boxer stop --grace 1m worker`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if grace < 0 {
				return fmt.Errorf("--grace %v: it must be 0s or more, such as 30s", grace)
			}
			defer r.close()
			var targets []target
			for _, name := range args {
				found, err := r.find(cmd.Context(), name)
				if err != nil {
					return err
				}
				targets = append(targets, found...)
			}
			return each(targets, func(t target) error {
				s, err := t.open(cmd.Context())
				if err == nil {
					_, err = s.Stop(cmd.Context(), grace)
				}
				if err != nil {
					return fmt.Errorf("node %s: %w", t.member.Name, err)
				}
				return nil
			})
		},
	}
	r.join = joinFlag(cmd)
	cmd.Flags().DurationVar(&grace, "grace", stopGrace, "the `DURATION` between SIGTERM and SIGKILL")
	return cmd
}
