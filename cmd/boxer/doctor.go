package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/launcher"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// errUnfit is the error of doctor where boxer cannot run. Doctor has printed what is
// missing by then.
var errUnfit = errors.New("this host lacks something that boxer needs: see MISSING above")

func doctorCommand() *cobra.Command {
	var named *pflag.Flag
	var asJSON, calls bool
	cmd := &cobra.Command{
		Use:   "doctor [FILE]",
		Short: "Show what this host offers: filters, notification, UDP, NAT",
		Long: `Show what this host offers to boxer, and a remedy for each thing that is missing. With
--join (or BOXER_JOIN), doctor also checks the way to the coordinator and the NAT on
it. It fails if something is missing that boxer needs.

With FILE, a program or library, doctor shows the file's system-call instructions and
how boxer would rewrite each where filters are refused (boxer run --interposer
rewrite). It fails if boxer cannot rewrite one of them.`,
		Example: `  boxer doctor
  boxer doctor --join @join.url --json
  boxer doctor --syscalls
  boxer doctor /lib/x86_64-linux-gnu/libc.so.6`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				return printSites(out, args[0], asJSON)
			}
			if calls {
				return printCalls(out, asJSON)
			}
			if _, err := logger(); err != nil {
				return err
			}
			var join *coordinator.JoinURL
			if _, set := os.LookupEnv("BOXER_JOIN"); set || named.Changed {
				u, err := joinURL(cmd.Context(), named)
				if err != nil {
					return err
				}
				join = &u
			}
			found := launcher.Diagnose(cmd.Context(), join)
			if err := context.Cause(cmd.Context()); err != nil {
				return err // the findings are incomplete
			}
			return printFindings(out, found, asJSON)
		},
	}
	named = joinFlag(cmd)
	named.Usage = "also check the way to the coordinator of the network whose join " +
		"URL is in `@FILE` (default $BOXER_JOIN)"
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&calls, "syscalls", false,
		"print the system calls that boxer answers, and what is missing")
	return cmd
}

func printFindings(w io.Writer, found []launcher.Finding, asJSON bool) error {
	fit := true
	for _, f := range found {
		fit = fit && (f.OK || !f.Needed)
	}
	if asJSON {
		if err := printJSON(w, found); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, f := range found {
			state := "ok"
			switch {
			case !f.OK && f.Needed:
				state = "MISSING"
			case !f.OK:
				state = "absent"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", state, f.Name, f.Detail)
			if f.Remedy != "" {
				fmt.Fprintf(t, "\t\t%s; remedy: %s\n", f.For, f.Remedy)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if !fit {
		return errUnfit
	}
	return nil
}

func printCalls(w io.Writer, asJSON bool) error {
	if asJSON {
		type row struct {
			Name string `json:"name"`
			Note string `json:"note"`
			Gap  string `json:"gap,omitempty"`
		}
		var rows []row
		for _, e := range syscalls.Table() {
			rows = append(rows, row{e.Name, e.Note, e.Gap})
		}
		return printJSON(w, rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CALL\tWHAT BOXER DOES\tWHAT IS MISSING")
	for _, e := range syscalls.Table() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", e.Name, e.Note, e.Gap)
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
