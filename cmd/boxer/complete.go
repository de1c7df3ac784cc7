package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
)

// completions are the values of flags, whichever command has them.
var completions = map[string]cobra.CompletionFunc{
	"congestion-control": cobra.FixedCompletions([]cobra.Completion{"host", "bbr",
		"cubic", "reno"}, cobra.ShellCompDirectiveNoFileComp),
	"format":       completeFormat,
	"trace-format": completeFormat,
	"trace":        completeTrace,
	"wait-for":     completeNodes,
	"node":         completeNodes,
	"name":         cobra.NoFileCompletions,
	"drain":        cobra.NoFileCompletions,
	"join":         completeJoin,
}

// completeFlags gives flags of the commands below root their completions.
func completeFlags(root *cobra.Command) {
	for _, cmd := range allBelow(root) {
		for name, f := range completions {
			flag := cmd.Flags().Lookup(name)
			// boxer run --trace FILE
			if flag == nil || name == "trace" && flag.Shorthand == "" {
				continue
			}
			if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
				panic(err) // a flag that is there, and has none yet
			}
		}
	}
}

func completeFormat(*cobra.Command, []string, string) ([]cobra.Completion,
	cobra.ShellCompDirective) {
	return trace.Formats(), cobra.ShellCompDirectiveNoFileComp
}

// completeTrace completes the last of a list of sets and calls.
func completeTrace(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexAny(typed, ",!")+1]
	all := []string{"network", "connections", "file", "process", "desc", "memory",
		"signal", "all"}
	for _, e := range syscalls.Table() {
		all = append(all, e.Name)
	}
	slices.Sort(all[8:])
	var fit []cobra.Completion
	for _, s := range slices.Compact(all) {
		if strings.HasPrefix(s, typed[len(before):]) {
			fit = append(fit, before+s)
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeJoin completes @FILE.
func completeJoin(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective) {
	path, ok := strings.CutPrefix(typed, "@")
	if !ok {
		return []cobra.Completion{"@"}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	found, _ := filepath.Glob(path + "*") // an error means that it is not a pattern
	for i, f := range found {
		if st, err := os.Stat(f); err == nil && st.IsDir() {
			f += "/"
		}
		found[i] = "@" + f
	}
	return found, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// completeWithin limits how long a shell waits for the names of nodes.
const completeWithin = time.Second

// completeNodes completes the names of the nodes of the network.
func completeNodes(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion,
	cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	f := statusFlags{join: cmd.Flags().Lookup("join")}
	v, err := f.look(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, m := range v.snap.Members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// completeCommand completes a program in PATH, then the files that are its arguments.
func completeCommand(_ *cobra.Command, args []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective) {
	if len(args) > 0 || strings.Contains(typed, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []cobra.Completion
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), typed) && !e.IsDir() {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// completeForward completes NAME: of boxer forward PORT NAME:PORT.
func completeForward(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion,
	cobra.ShellCompDirective) {
	if len(args) != 1 || strings.Contains(typed, ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := completeNodes(cmd, args, typed)
	for i := range names {
		names[i] += ":"
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
