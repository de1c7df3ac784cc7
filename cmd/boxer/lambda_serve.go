package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/lambda/runtime"
)

func lambdaServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Be the runtime of a function",
		Long: `Be the runtime of a function: run the program of each event as a node. The bootstrap
of a function is this, and so is the entry point of a function's image.`,
		Example: `  ENTRYPOINT ["/usr/bin/boxer", "lambda", "serve"]   # in the Dockerfile of an image`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command,
			_ []string) error {
			return serveLambda(cmd.Context())
		},
	}
}

// isBootstrap reports whether this process is the bootstrap of a function.
func isBootstrap() bool {
	return len(os.Args) == 1 && filepath.Base(os.Args[0]) == "bootstrap" &&
		os.Getenv("AWS_LAMBDA_RUNTIME_API") != ""
}

// serveLambda serves a function's invocations until SIGTERM.
func serveLambda(ctx context.Context) error {
	cfg, err := runtime.FromEnvironment()
	if err != nil {
		return err
	}
	if cfg.Logger, err = logger(); err != nil {
		return err
	}
	if cfg.Boxer, err = os.Executable(); err != nil {
		return err
	}
	cfg.Secret = runtime.ReadSecret
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	return runtime.Serve(ctx, cfg)
}
