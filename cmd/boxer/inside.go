package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boxer-sandbox/boxer/launcher"
)

// runInside is boxer run inside of another one, whose program and all that descends from
// it are a node already: Linux allows one supervisor. The command becomes a part of that
// node. All flags of run say how to make a node, so each is an error here, but for the
// name that the node has.
func runInside(cmd *cobra.Command, e *launcher.Enclosing, argv []string,
	code *int) error {
	var asked []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "name" || f.Value.String() != e.Name {
			asked = append(asked, "--"+f.Name)
		}
	})
	if len(asked) > 0 {
		return fmt.Errorf("%v: a command in a node cannot become another node; leave "+
			"out %s "+
			"to run %s in this node, or run it "+
			"outside", e, strings.Join(asked, ", "), argv[0])
	}
	fmt.Fprintf(os.Stderr, "boxer: %v: %s runs in this node\n", e, argv[0])
	err := launcher.Exec(argv)
	var exit *launcher.ExitError
	if errors.As(err, &exit) {
		*code = exit.Code
	}
	return err
}

// notInside fails inside boxer run, for a command that works only outside. instead tells
// the user what to do.
func notInside(instead string) error {
	if e := launcher.FindEnclosing(); e != nil {
		return fmt.Errorf("%v: %s", e, instead)
	}
	return nil
}
