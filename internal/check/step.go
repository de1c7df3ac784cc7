package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A step is one part of the whole: a command, or tests.
type step struct {
	name  string
	about string // what it does, and how long that takes
	dir   string // where it runs; empty: the top of the checkout
	alone string // the command that runs it alone

	command []string // of a check
	tests   []string // or the arguments of "go test"
	race    bool
	env     []string // of tests, besides this process's
	without string   // packages with that ending are left out of ./...
}

// steps returns all steps. The tests of real programs get those flags.
func steps(e2eFlags []string) []step {
	return []step{
		{name: "lint", about: "format, vet, staticcheck, shellcheck", alone: "make lint",
			command: []string{"make", "lint"}},
		{name: "packages", about: "the packages' tests with the race detector, and other systems in examples/",
			alone: "make test ARGS='-only packages'",
			race:  true, tests: []string{"-timeout=20m"}, without: "/e2e"},
		{name: "published", about: "the transport with quic-go as it is published",
			alone: "make test ARGS='-only published'",
			race:  true, env: []string{"QUIC_GO=published"},
			tests: []string{"-timeout=10m", "./transport/..."}},
		{name: "e2e", about: "real programs between two functions",
			alone: "make test ARGS='-only e2e'",
			tests: append([]string{"-timeout=60m", "./e2e/"}, e2eFlags...)},
		{name: "bench", about: "the benchmarks' own tests", dir: "bench",
			alone: "make test ARGS='-only bench'",
			race:  true, tests: []string{"-timeout=10m", ".", "./over"}},
		{name: "bench-vet", about: "vet of the benchmarks", dir: "bench",
			alone: "make test ARGS='-only bench-vet'",
			command: []string{"../scripts/go", "vet", ".", "./meter", "./over",
				"./trap"}},
	}
}

func (s step) run(ctx context.Context, r *report) error {
	if s.command != nil {
		return runCommand(ctx, s.dir, s.command)
	}
	args := append([]string{"test", "-json", "-count=1"}, s.tests...)
	if s.race {
		args = append(args[:2:2], append([]string{"-race"}, args[2:]...)...)
	}
	if s.without != "" {
		packages, err := list(ctx, s.dir, s.without)
		if err != nil {
			return err
		}
		r.total = len(packages)
		args = append(args, packages...)
	}
	return runTests(ctx, s, args, r)
}

// goCommand is the path of scripts/go from the step's directory.
func goCommand(dir string) string {
	up, err := filepath.Rel("/"+dir, "/scripts/go")
	if err != nil {
		return "scripts/go"
	}
	return up
}

// list returns the packages in dir, without those with the ending.
func list(ctx context.Context, dir, without string) (packages []string, err error) {
	cmd := exec.CommandContext(ctx, goCommand(dir), "list", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if p := strings.TrimSpace(line); !strings.HasSuffix(p, without) {
			packages = append(packages, p)
		}
	}
	return packages, nil
}

// runCommand runs a command of a step with this process's output.
func runCommand(ctx context.Context, dir string, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	terminateGracefully(cmd)
	return cmd.Run()
}

// terminateGracefully gives a command time to clean up when its context ends.
func terminateGracefully(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
}

// runTests runs "go test -json" and gives its events to r.
func runTests(ctx context.Context, s step, args []string, r *report) error {
	cmd := exec.CommandContext(ctx, goCommand(s.dir), args...)
	cmd.Dir, cmd.Stderr = s.dir, os.Stderr
	cmd.Env = append(os.Environ(), s.env...)
	terminateGracefully(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := r.progressEvery(quiet)
	readErr := r.read(out)
	stop()
	return errors.Join(readErr, cmd.Wait())
}
