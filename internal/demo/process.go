package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// await waits until p has written text to o that pattern matches, and returns the match.
// Errors contain the last output of p.
func await(ctx context.Context, p *proctest.Process, o *proctest.Output,
	pattern *regexp.Regexp) (string, error) {
	match, err := o.Next(ctx, pattern)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, p.Report())
	}
	return match[0], nil
}

// outputOf runs cmd to its end and returns what it wrote to stdout. Errors begin with
// name.
func outputOf(ctx context.Context, name string, cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s: %w: %s", name, err,
			proctest.Tail(stdout.String()+stderr.String()))
	}
	return stdout.String(), nil
}
