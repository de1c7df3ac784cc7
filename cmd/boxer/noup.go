//go:build !compose

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// withCompose is boxer with what reads compose files and images. It is a program of its
// own, since each start of a program pays for all that is in it: four milliseconds and 2
// MB for these.
const withCompose = "boxer-compose"

// needsCompose replaces this process by the boxer that reads compose files.
func needsCompose() error {
	path, err := findBeside(withCompose)
	if err != nil {
		return fmt.Errorf("%s, which reads compose files, is neither beside boxer nor in PATH: make build makes it, and the packages have it: %w", withCompose, err)
	}
	return fmt.Errorf("execute %s: %w", path, syscall.Exec(path, os.Args, os.Environ()))
}

// findBeside returns the path of a program that is beside this one, or in PATH.
func findBeside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	return exec.LookPath(name)
}

func upCommand(*int) *cobra.Command {
	return &cobra.Command{
		Use:                "up [flags] [SERVICE...]",
		Short:              "Start the services of a compose file, each as a node",
		Example:            "  boxer up --detach --wait",
		DisableFlagParsing: true,
		RunE: func(*cobra.Command,
			[]string) error {
			return needsCompose()
		},
	}
}

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "config [flags] [SERVICE...]",
		Short:              "Show a compose file as boxer up sees it",
		Example:            "  boxer config --services",
		DisableFlagParsing: true,
		RunE: func(*cobra.Command,
			[]string) error {
			return needsCompose()
		},
	}
}
