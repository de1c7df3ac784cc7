//go:build !aws

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/host"
)

// withAWS is boxer with AWS's clients. They are in a program of their own, since each
// start of a program pays for all that is in it: two milliseconds and 2 MB for these.
const withAWS = "boxer-aws"

// needsAWS replaces this process by the boxer that has AWS's clients.
func needsAWS() error {
	path, err := findWithAWS()
	if err != nil {
		return fmt.Errorf("%s, which has AWS's clients, is neither beside boxer nor in PATH: "+
			"make build makes it, and the packages have it: %w", withAWS, err)
	}
	return fmt.Errorf("execute %s: %w", path, syscall.Exec(path, os.Args, os.Environ()))
}

func findWithAWS() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), withAWS)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	return exec.LookPath(withAWS)
}

// lambdaHost is in the other program: see needsAWS.
func lambdaHost(context.Context, string, string, string) (host.Host, error) {
	return nil, errors.ErrUnsupported
}

// lambdaCommand is the other program's, but for the runtime of functions.
func lambdaCommand(code *int) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lambda",
		Short: "Make functions of AWS Lambda in which programs run as nodes",
		Long: "Make functions of AWS Lambda in which programs run as nodes; " + withAWS +
			" does it.",
		Example: `  boxer lambda deploy pg --add ./app --role arn:aws:iam::123456789012:role/boxer
  boxer run --join @join.url --on lambda:pg --name db -- postgres -D /tmp/data`,
		DisableFlagParsing: true,
		RunE:               func(*cobra.Command, []string) error { return needsAWS() },
	}
	cmd.AddCommand(lambdaServeCommand(), lambdaExecCommand(code))
	return cmd
}
