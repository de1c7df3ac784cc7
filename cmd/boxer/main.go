// Command boxer runs programs as nodes of a short-lived data centre: it carries
// their sockets over hole-punched UDP paths.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/secrets"
	"github.com/boxer-sandbox/boxer/launcher"
	"github.com/boxer-sandbox/boxer/project"
)

func main() {
	if launcher.IsInit() {
		os.Exit(launcher.Init())
	}
	if project.IsEnter() {
		report(project.Enter())
		os.Exit(launcher.ExitBoxer)
	}
	os.Exit(run())
}

func run() int {
	if err := secrets.Keep(); err != nil {
		report(fmt.Errorf("secrets: other processes of this user may read the memory "+
			"of this one: %w", err))
	}
	ctx := context.Background()
	if !runsProgram(os.Args[1:]) { // which passes its signals on, see launcher
		var stop context.CancelCauseFunc
		ctx, stop = context.WithCancelCause(ctx)
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, unix.SIGINT, unix.SIGTERM)
		// ends with the process
		go func() { stop(interrupted((<-caught).(unix.Signal))) }()
	}
	code := 0
	args := flagsAfterCommand(os.Args[1:])
	cmd := root(&code)
	if isProjectCommand(args) {
		replaceCommands(cmd, projectTwins(&code))
	}
	cmd.SetArgs(args)
	if isBootstrap() {
		cmd.SetArgs([]string{"lambda", "serve"})
	}
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return code
	}
	if by, ok := errors.AsType[interrupted](err); ok {
		return 128 + int(by) // as a shell reports it; the user knows about ctrl-C
	}
	if code == 0 {
		code = launcher.ExitBoxer
	}
	report(err)
	return code
}

// flagsAfterCommand moves the flags that docker compose takes before its command, such as
// -f FILE in "boxer -f FILE up", to after it.
func flagsAfterCommand(args []string) []string {
	var flags []string
	args = slices.Clone(args)
	for len(args) > 1 {
		name, _, joined := strings.Cut(args[0], "=")
		switch name {
		case "-f", "--file", "-p", "--project-name", "--profile", "--env-file",
			"--project-directory":
		default:
			return slices.Concat(args[:1], flags, args[1:])
		}
		n := 2
		if joined {
			n = 1
		}
		if name == "-f" && len(args) > n && args[n] == "logs" {
			args[0] = "--file" // -f of logs is --follow
		}
		flags, args = append(flags, args[:n]...), args[n:]
	}
	return slices.Concat(args, flags)
}

// interrupted is the cause of a command that a signal ended before it was done.
type interrupted unix.Signal

func (s interrupted) Error() string { return unix.Signal(s).String() }

// report prints an error as boxer's own. Each of several joined errors gets a line.
func report(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(os.Stderr, "boxer:", line)
	}
}

func root(code *int) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "boxer",
		Short: "Run unmodified programs as hosts of a short-lived data centre",
		Long: `Boxer connects programs that cannot accept connections, such as serverless
functions, to one network. Programs under "boxer run" find each other by name and
connect as on ordinary hosts, over encrypted, hole-punched UDP paths.`,
		Example: `  boxer run --name db -- postgres -D /var/lib/data      # in one terminal
  boxer run -- psql -h db                               # in another`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetVersionTemplate(versionText())
	cmd.AddCommand(runCommand(code), coordinatorCommand(), statusCommand(),
		forwardCommand(),
		psCommand(), logsCommand(), execCommand(code), stopCommand(), attachCommand(code),
		ownerCommand(), doctorCommand(), traceCommand(code), lambdaCommand(code), policyCommand(code),
		versionCommand())
	cmd.AddCommand(upCommand(code), configCommand(), gatewayCommand(), exposeCommand())
	cmd.AddCommand(projectCommands()...)
	for _, extra := range extraCommands {
		cmd.AddCommand(extra())
	}
	cmd.InitDefaultCompletionCmd() // now, so that it gets the same help
	helpUsers(cmd)
	completeFlags(cmd)
	return cmd
}

// extraCommands are commands of builds with further tags, such as man.go.
var extraCommands []func() *cobra.Command

// logger writes boxer's own messages to stderr, from the level that BOXER_LOG
// names (slog.Level), by default warnings. BOXER_LOG_FORMAT=json makes each a JSON
// object.
func logger() (*slog.Logger, error) { return loggerAt(slog.LevelWarn) }

// loggerAt is logger with another default.
func loggerAt(level slog.Level) (*slog.Logger, error) {
	if s := os.Getenv("BOXER_LOG"); s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return nil, fmt.Errorf("BOXER_LOG %q: unknown level; use debug, info, "+
				"warn or error", s)
		}
	}
	var h slog.Handler = &handler{level: level}
	switch format := os.Getenv("BOXER_LOG_FORMAT"); format {
	case "", "text":
	case "json":
		h = slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	default:
		return nil, fmt.Errorf("BOXER_LOG_FORMAT %q: unknown format; use text or json", format)
	}
	log := slog.New(h)
	slog.SetDefault(log)
	return log, nil
}

var errNoCommand = errors.New("no command given")
