// Package trap contains a minimal C program that answers a trapped call correctly, for
// comparison with boxer.
package trap

import (
	"context"
	_ "embed" // for the program's source
	"fmt"
	"os/exec"
	"strings"
)

//go:embed c/supervisor.c
var source string

// Build compiles the supervisor to the file path. It fails if there is no C compiler.
func Build(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "cc", "-O2", "-static", "-x", "c", "-o", path, "-")
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
