package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host/control"
	"github.com/boxer-sandbox/boxer/internal/linux"
)

// passedOn are the signals that a command which runs elsewhere gets.
var passedOn = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
	unix.SIGUSR1, unix.SIGUSR2}

func execCommand(code *int) *cobra.Command {
	var r reach
	var c control.Command
	var tty bool
	cmd := &cobra.Command{
		Use:   "exec [flags] NODE -- COMMAND [ARG...]",
		Short: "Run a command in a node",
		Long: `Run a command in a node that runs, on this host or elsewhere, as a part of it: with
its localhost, its addresses and its files. The command has the standard streams of
boxer exec, and boxer exec ends with its exit code. It ends with the node's program at
the latest. Nodes elsewhere ask for their owner's key: see boxer owner --help.`,
		Example: `  boxer exec db -- psql -U postgres
  boxer exec --tty db -- sh`,
		Args:              cobra.MinimumNArgs(2),
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
			if c.Argv = args[1:]; c.Argv[0] == "--" { // of exec, as what follows shows
				c.Argv = c.Argv[1:]
			}
			if len(c.Argv) == 0 {
				return usage(cmd, errNoCommand)
			}
			streams := control.Streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
			restore, err := terminalOf(tty, &c, &streams)
			if err != nil {
				return err
			}
			defer restore()
			signals := make(chan os.Signal, 16)
			notify(signals, passedOn...)
			defer forget(signals)
			streams.Signals = signals
			result, err := s.Exec(cmd.Context(), c, streams)
			*code = result.Code
			return err
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	r.join = joinFlag(cmd)
	f.BoolVarP(&tty, "tty", "t", false, "give the command a terminal, which is this one")
	f.StringArrayVar(&c.Env, "env", nil, "set a variable of the command: `NAME=VALUE`")
	f.StringVar(&c.Dir, "chdir", "", "the command's working directory, a `DIR` there")
	return cmd
}

// errNoTerminal means that --tty was asked for without a terminal.
var errNoTerminal = errors.New("--tty: standard input is no terminal; leave --tty out")

// terminalOf prepares this terminal for a command that gets one elsewhere, if tty says
// so. restore undoes that.
func terminalOf(tty bool, c *control.Command, s *control.Streams) (restore func(),
	err error) {
	if !tty {
		return func() {}, nil
	}
	if !linux.IsTerminal(os.Stdin) {
		return nil, errNoTerminal
	}
	size, later, stop := resizes(os.Stdin)
	c.Terminal, s.Windows = &size, later
	if term := os.Getenv("TERM"); term != "" {
		c.Env = append(c.Env, "TERM="+term)
	}
	undo, err := linux.MakeRaw(os.Stdin)
	if err != nil {
		stop()
		return nil, err
	}
	return func() { undo(); stop() }, nil
}
