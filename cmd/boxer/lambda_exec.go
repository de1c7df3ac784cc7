package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/lambda/runtime"
	"github.com/boxer-sandbox/boxer/launcher"
)

func lambdaExecCommand(code *int) *cobra.Command {
	return &cobra.Command{
		Use:   "exec -- COMMAND [ARG...]",
		Short: "Run the runtime of a managed function as a node",
		Long: `Run the runtime of a function, such as Python's, as a node of the network. The layer of
"boxer lambda layer" has a script that calls this: name it in the function's variable
AWS_LAMBDA_EXEC_WRAPPER. BOXER_JOIN says how to join (a join URL, ssm:NAME or
secretsmanager:ID), BOXER_NAME is the node's name, and BOXER_FLAGS has further flags of
boxer run. Between invocations, when the environment is frozen, the node is asleep.`,
		Example:            `  AWS_LAMBDA_EXEC_WRAPPER=/opt/boxer/wrapper   # in the function's configuration`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			if len(args) == 0 {
				return usage(cmd, errNoCommand)
			}
			if args[0] == "--help" || args[0] == "-h" {
				return cmd.Help()
			}
			*code, err = execLambda(cmd.Context(), args)
			return err
		},
	}
}

// execLambda runs a function's runtime as a node.
func execLambda(ctx context.Context, argv []string) (int, error) {
	join, err := runtime.JoinOf(ctx)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	if err := os.Setenv("BOXER_JOIN", join); err != nil {
		return launcher.ExitBoxer, err
	}
	var run runFlags
	flags := &cobra.Command{Use: runtime.WrapperFlags}
	run.register(flags)
	if err := flags.ParseFlags(strings.Fields(os.Getenv(runtime.WrapperFlags))); err != nil {
		return launcher.ExitBoxer, err
	}
	if fn := os.Getenv("AWS_LAMBDA_FUNCTION_NAME"); fn != "" && run.place == "" {
		run.place = "lambda:" + fn
	}
	cfg, err := run.config(ctx, argv)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	w, err := runtime.NewWrapper(cfg.Logger)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.Register(ctx)
	cfg.Env = w.Environ(os.Environ())
	run.started = func(p *launcher.Program) { w.Serve(p) }
	return run.runNode(ctx, cfg)
}
