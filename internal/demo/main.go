// Command demo shows boxer's main job: PostgreSQL in one function serves pgbench in
// another, though nobody can connect to either.
//
//	demo BOXER
//
// As root, or where the kernel lets users have user namespaces, it makes a small cloud of
// network namespaces: a public host with the coordinator, and two functions, each behind
// a NAT of its own that drops everything unsolicited. Otherwise all run on this machine's
// loopback, and the demo says why. Nothing of it is left at the end, nor after Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/tempdir"
)

// patience bounds the whole demo.
const patience = 5 * time.Minute

func main() {
	status, err := natlab.Inside(func() int { return report(inLab()) })
	if err != nil {
		status = report(inLoopback(err.Error()))
	}
	os.Exit(status)
}

// report says why the demo failed, and returns the exit status.
func report(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: interrupted")
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	return 1
}

// inLab runs the demo in a lab. What it writes is in the private /run, which ends with
// the process.
func inLab() error {
	ctx, stop := limits()
	defer stop()
	lab, err := natlab.New(ctx)
	if err != nil {
		return err
	}
	c, err := labCloud(ctx, lab)
	if err == nil {
		err = run(ctx, c, "/run/boxer-demo")
	}
	return errors.Join(err, lab.Close())
}

// inLoopback runs the demo on this machine, and says why.
func inLoopback(why string) error {
	ctx, stop := limits()
	defer stop()
	dir, err := tempdir.Make("boxer-demo-")
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, loopbackCloud(why), dir.Path), dir.Remove())
}

// limits returns a context that ends with the demo's time, or when the user wants it to.
func limits() (context.Context, func()) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM,
		unix.SIGHUP)
	ctx, cancel := context.WithTimeoutCause(ctx, patience,
		fmt.Errorf("not done after %v", patience))
	return ctx, func() { cancel(); stop() }
}

// run plays the demo in cloud c, with its files in dir, and prints the report.
func run(ctx context.Context, c *cloud, dir string) (err error) {
	if len(os.Args) != 2 {
		return errors.New("usage: demo BOXER, where BOXER is the binary to show")
	}
	if c.dir, err = prepare(dir, os.Args[1]); err != nil {
		return err
	}
	fmt.Printf("%s\n\n", c.scene)
	defer c.stop()
	if err := c.startCoordinator(ctx); err != nil {
		return err
	}
	db, err := c.startPostgres(ctx)
	if err != nil {
		return err
	}
	return c.measure(ctx, db)
}

// prepare makes the demo's directory, which every user may enter, and puts the binary
// there, as the checkout may be in a directory that others may not.
func prepare(dir, boxer string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	binary, err := os.ReadFile(boxer)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "boxer"), binary, 0o755)
}
