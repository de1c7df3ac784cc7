package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/project"
)

// projectFlags say which project a command is about, as docker compose's flags do.
type projectFlags struct {
	files    []string
	name     string
	profiles []string
	envFiles []string
	dir      string
}

func (p *projectFlags) register(cmd *cobra.Command) { p.registerAs(cmd, "f") }

// registerAs is register where -f may mean something else; file is its short name.
func (p *projectFlags) registerAs(cmd *cobra.Command, file string) {
	f := cmd.Flags()
	f.StringArrayVarP(&p.files, "file", file, nil, "a compose `FILE` (default $COMPOSE_FILE, "+
		"else compose.yaml here or above)")
	f.StringVarP(&p.name, "project-name", "p", "", "`NAME` of the project (default "+
		"$COMPOSE_PROJECT_NAME, the file's name, else that of its directory)")
	f.StringArrayVar(&p.profiles, "profile", nil, "activate a `PROFILE`")
	f.StringArrayVar(&p.envFiles, "env-file", nil, "take variables from `FILE` (default .env)")
	f.StringVar(&p.dir, "project-directory", "", "the project's `DIR` (default: that of "+
		"the first file)")
}

// errNoProjectHere means that neither a flag nor the directory names a project.
var errNoProjectHere = errors.New("boxer up has started no project from this directory or one above; name one with --project-name")

// errSeveralProjects means that a directory does not tell which project is meant.
var errSeveralProjects = errors.New("several projects are from this directory")

// find returns the directory of a project that boxer up has started: that of the name, or
// the one whose files are in this directory or in one above.
func (p *projectFlags) find() (d project.Dir, err error) {
	runtime, err := coordinator.RuntimeDir()
	if err != nil {
		return d, err
	}
	name := p.name
	if name == "" {
		name = os.Getenv("COMPOSE_PROJECT_NAME")
	}
	if name != "" {
		return project.Find(runtime, strings.ToLower(name))
	}
	dir := p.dir
	if dir == "" && len(p.files) > 0 {
		dir = filepath.Dir(p.files[0])
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return d, err
	}
	all, err := project.List(runtime)
	if err != nil {
		return d, err
	}
	for {
		var found []project.Dir
		for _, d := range all {
			if from, err := d.From(); err == nil && from == dir {
				found = append(found, d)
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			var names []string
			for _, d := range found {
				names = append(names, d.Name)
			}
			return d, fmt.Errorf("%w: name one with --project-name: %s",
				errSeveralProjects,
				strings.Join(names, ", "))
		case dir == filepath.Dir(dir):
			return d, errNoProjectHere
		}
		dir = filepath.Dir(dir)
	}
}

// client returns a client of the project's supervisor.
func (p *projectFlags) client() (*project.Client, error) {
	d, err := p.find()
	if err != nil {
		return nil, err
	}
	return project.Connect(d)
}

// projectCommands are the commands about projects that need no compose file.
func projectCommands() []*cobra.Command {
	return []*cobra.Command{downCommand(), restartCommand(), startCommand(),
		killCommand(),
		eventsCommand(), supervisorCommand()}
}

// projectTwins are commands about projects for which there is a command about nodes of
// the same name.
func projectTwins(code *int) []*cobra.Command {
	return []*cobra.Command{projectPSCommand(), projectLogsCommand(),
		projectExecCommand(code), projectStopCommand()}
}

// isProjectCommand reports whether arguments are for one of the projectTwins: a flag
// names a project, or boxer up has started one from this directory or from one above, and
// no flag names a network.
func isProjectCommand(args []string) bool {
	if len(args) == 0 || !slices.Contains([]string{"ps", "logs", "exec", "stop"},
		args[0]) {
		return false
	}
	for _, arg := range args[1:] {
		name, _, _ := strings.Cut(arg, "=")
		switch name {
		case "--join":
			return false
		case "-f":
			if args[0] != "logs" { // whose -f is --follow
				return true
			}
		case "-p", "--project-name", "--file", "--project-directory":
			return true
		}
		if !strings.HasPrefix(arg, "-") && args[0] == "exec" {
			break // what follows is the command's
		}
	}
	var p projectFlags
	_, err := p.find()
	return err == nil || os.Getenv("COMPOSE_PROJECT_NAME") != "" ||
		errors.Is(err, errSeveralProjects)
}

// replaceCommands puts commands in the place of those of the same names.
func replaceCommands(root *cobra.Command, with []*cobra.Command) {
	for _, c := range with {
		for _, old := range root.Commands() {
			if old.Name() == c.Name() {
				root.RemoveCommand(old)
			}
		}
		root.AddCommand(c)
	}
}

// supervisorCommand is the supervisor of a project, which boxer up starts.
func supervisorCommand() *cobra.Command {
	return &cobra.Command{
		Use: project.SupervisorCommand + " DIR NAME", Hidden: true,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ready := os.NewFile(3, "ready")
			unix.CloseOnExec(3)
			log := slog.New(&handler{level: slog.LevelInfo})
			boxer, err := os.Executable()
			if err != nil {
				return err
			}
			signal.Ignore(unix.SIGPIPE, unix.SIGHUP)
			err = project.Serve(cmd.Context(), project.Config{Boxer: boxer, Logger: log,
				Dir: project.Dir{Path: args[0], Name: args[1]}}, func() {
				fmt.Fprintln(ready, project.ReadyLine)
				ready.Close()
			})
			if err != nil {
				fmt.Fprintln(ready, err)
			}
			return err
		},
	}
}

// timeoutFlag adds --timeout to a command that stops programs.
func timeoutFlag(cmd *cobra.Command, to *int) {
	cmd.Flags().IntVarP(to, "timeout", "t", 0, "`SECONDS` from the stop signal to SIGKILL "+
		"(default: stop_grace_period, else 10)")
}

func downCommand() *cobra.Command {
	var p projectFlags
	var timeout int
	var volumes bool
	cmd := &cobra.Command{
		Use:   "down [flags] [SERVICE...]",
		Short: "Stop the services of a project and remove them",
		Long: `Stop the services of a project, those that depend on others first, and remove what
boxer up has made: logs, secrets, the network. Volumes stay without --volumes. With
SERVICE, only these are stopped and removed. It also ends what is left of a project
whose supervisor was killed.`,
		Example: "  boxer down\n  boxer down --volumes --project-name shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := p.find()
			if err != nil {
				return err
			}
			var dirs []string
			if volumes && len(args) == 0 {
				if dirs, err = volumesOf(d.Name); err != nil {
					return err
				}
			}
			grace := time.Duration(timeout) * time.Second
			c, err := project.Connect(d)
			if err == nil {
				err = c.Down(cmd.Context(), args, grace)
			}
			if len(args) == 0 && (errors.Is(err, project.ErrNotRunning) ||
				errors.Is(err, project.ErrEnded)) {
				err = project.Remove(d, grace) // its supervisor was killed
			}
			for _, dir := range dirs {
				err = errors.Join(err, os.RemoveAll(dir))
			}
			return err
		},
	}
	p.register(cmd)
	timeoutFlag(cmd, &timeout)
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false,
		"remove the project's volumes, too")
	cmd.Flags().Bool("remove-orphans", true,
		"remove services that the file has no more; always so")
	return cmd
}

// volumesDir is where the volumes of projects are.
func volumesDir() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "boxer", "volumes"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "share", "boxer", "volumes"), err
}

// volumesOf returns the directories of a project's own volumes.
func volumesOf(name string) ([]string, error) {
	dir, err := volumesDir()
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, name+"_*"))
}

// overProject returns a command that does something with services.
func overProject(use, short, long, example string, flags func(*cobra.Command),
	do func(ctx context.Context, c *project.Client,
		names []string) error) *cobra.Command {
	var p projectFlags
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			return do(cmd.Context(), c, args)
		}}
	p.register(cmd)
	flags(cmd)
	return cmd
}

func projectStopCommand() *cobra.Command {
	var timeout int
	return overProject("stop [flags] [SERVICE...]", "Stop services of a project",
		"Stop services of a project, without SERVICE all. boxer start starts them again.",
		"  boxer stop web", func(cmd *cobra.Command) { timeoutFlag(cmd, &timeout) },
		func(ctx context.Context, c *project.Client, names []string) error {
			return c.Stop(ctx, names, time.Duration(timeout)*time.Second)
		})
}

func restartCommand() *cobra.Command {
	var timeout int
	return overProject("restart [flags] [SERVICE...]", "Restart services of a project",
		`Stop services of a project and start them again, without SERVICE all. Services that
depend on them with "restart: true" are restarted as well. Changes of the compose file
have no effect: boxer up applies them.`,
		"  boxer restart web", func(cmd *cobra.Command) { timeoutFlag(cmd, &timeout) },
		func(ctx context.Context, c *project.Client, names []string) error {
			return c.Restart(ctx, names, time.Duration(timeout)*time.Second)
		})
}

func startCommand() *cobra.Command {
	return overProject("start [flags] [SERVICE...]", "Start services that were stopped",
		"Start the services of a project that do not run, without SERVICE all.",
		"  boxer start web", func(*cobra.Command) {},
		func(ctx context.Context, c *project.Client, names []string) error {
			return c.StartStopped(ctx, names)
		})
}

func killCommand() *cobra.Command {
	var name string
	return overProject("kill [flags] [SERVICE...]",
		"Send a signal to services of a project",
		"Send a signal to the programs of services, without SERVICE of all.",
		"  boxer kill --signal HUP web", func(cmd *cobra.Command) {
			cmd.Flags().StringVarP(&name, "signal", "s", "KILL", "the `SIGNAL`")
		},
		func(ctx context.Context, c *project.Client, names []string) error {
			sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
			if sig == 0 {
				return fmt.Errorf("--signal %q: unknown signal; use a name such as HUP", name)
			}
			return c.Kill(ctx, names, sig)
		})
}

func projectExecCommand(code *int) *cobra.Command {
	var p projectFlags
	var c project.Command
	var index int
	cmd := &cobra.Command{
		Use:   "exec [flags] SERVICE COMMAND [ARG...]",
		Short: "Run a command in the node of a service",
		Long: `Run a command in the node of a service of a project: it has the node's name, addresses
and localhost, the program's files and environment, and the descriptors of boxer exec,
which ends with its exit code: 128+N if signal N killed it; 127 if it was not found,
126 if it is not executable, 125 if boxer itself failed.`,
		Example: "  boxer exec db psql -h localhost -U postgres",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage(cmd, errNoCommand)
			}
			client, err := p.client()
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 16)
			signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
				unix.SIGUSR1, unix.SIGUSR2)
			name := args[0]
			if index > 0 {
				name = fmt.Sprintf("%s-%d", name, index)
			}
			c.Argv, c.Streams = args[1:], [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
			*code, err = client.Exec(cmd.Context(), name, c, signals)
			return err
		},
	}
	p.register(cmd)
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	f.StringArrayVarP(&c.Env, "env", "e", nil, "set a variable: `NAME=VALUE`")
	f.StringVarP(&c.Dir, "workdir", "w", "", "working `DIR` (default: the program's)")
	f.IntVar(&index, "index", 0, "the `N`th instance of the service (default: the first)")
	f.BoolP("no-tty", "T", true, "make no terminal; always so")
	return cmd
}

func eventsCommand() *cobra.Command {
	var p projectFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "events [flags] [SERVICE...]",
		Short:   "Show what happens in a project, until interrupted",
		Long:    "Show what happens to the instances of a project's services, until interrupted.",
		Example: "  boxer events --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			return c.Events(cmd.Context(), func(e project.Event) error {
				if len(args) > 0 && !slices.Contains(args, e.Service) {
					return nil
				}
				return printEvent(cmd.OutOrStdout(), e, asJSON)
			})
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON object a line")
	return cmd
}
