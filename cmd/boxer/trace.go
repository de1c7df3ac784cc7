package main

import "github.com/spf13/cobra"

func traceCommand(code *int) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show what programs do with the network",
		Example: `  boxer trace show db.jsonl
  boxer trace merge web.jsonl db.jsonl --html both.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(traceShowCommand(code), traceMergeCommand(code))
	return cmd
}
