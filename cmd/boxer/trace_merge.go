package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/trace"
)

func traceMergeCommand(code *int) *cobra.Command {
	var out traceOutput
	cmd := &cobra.Command{
		Use:   "merge [flags] FILE...",
		Short: "Merge the traces of several nodes into one timeline",
		Long: `Merge the traces of several nodes, or the parts of a rotated trace, in the order of
time. boxer corrects the clocks of the nodes by their measurements against the
coordinator's clock, and then so that no connection is accepted before the other
node asked for it. A connection has the same id on both nodes. The result is JSON
lines, unless --format or the name of the output selects another format.`,
		Example: `  boxer trace merge web.jsonl db.jsonl -o both.jsonl
  boxer trace merge web.jsonl db.jsonl --html both.html
  boxer trace merge web.jsonl db.jsonl -o both.perfetto.json   # for ui.perfetto.dev
  boxer trace merge db.jsonl.1 db.jsonl --format text`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.inputIsOutput(args); err != nil {
				return err
			}
			var inputs []trace.Input
			for _, name := range args {
				if _, err := os.Stat(name); err != nil {
					return err
				}
				inputs = append(inputs, trace.Input{Name: name,
					Open: func() (io.ReadCloser, error) { return os.Open(name) }})
			}
			w, err := out.open(cmd.OutOrStdout(), "json")
			if err != nil {
				return err
			}
			damage := damageReport{w: cmd.ErrOrStderr()}
			err = trace.Merge(w, inputs, damage.add)
			if err == nil && damage.end() {
				*code = 1
			}
			return err
		},
	}
	out.register(cmd)
	return cmd
}
