package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// maxTypo is how many letters may differ between a typing error and what was meant.
const maxTypo = 2

// helpUsers adds a suggestion and an example to the usage errors of a command and of its
// subcommands.
func helpUsers(root *cobra.Command) {
	root.SuggestionsMinimumDistance = maxTypo
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd, fmt.Errorf("%w%s", err, flagMeant(cmd, err)))
	})
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		meant := ""
		if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
			meant = `; did you mean "boxer ` + strings.Join(like, `" or "boxer `) + `"?`
		}
		return usage(cmd, fmt.Errorf("unknown command %q%s", args[0], meant))
	}
	for _, cmd := range allBelow(root) {
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return usage(cmd, err)
				}
				return nil
			}
		}
	}
}

// allBelow returns the commands below cmd.
func allBelow(cmd *cobra.Command) (all []*cobra.Command) {
	for _, c := range cmd.Commands() {
		all = append(append(all, c), allBelow(c)...)
	}
	return all
}

// usage adds an example of the command to an error about its command line.
func usage(cmd *cobra.Command, err error) error {
	text := strings.TrimSuffix(err.Error(), ".")
	if e := example(cmd); e != "" {
		text += "; for example: " + e
	}
	return errors.New(text + "; see '" + cmd.CommandPath() + " --help'")
}

// example is the first line of a command's examples, without its comment.
func example(cmd *cobra.Command) string {
	first, _, _ := strings.Cut(cmd.Example, "\n")
	first, _, _ = strings.Cut(first, "  #")
	return strings.TrimSpace(first)
}

// flagMeant names the flag that an unknown flag resembles.
func flagMeant(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	name := unknown.GetSpecifiedName()
	best, wrong := "", maxTypo+1
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := distance(name, f.Name); d < wrong && d < len(name) {
			best, wrong = f.Name, d
		}
	})
	if best == "" {
		return ""
	}
	return "; did you mean --" + best + "?"
}

// distance is the smallest number of letters to insert, remove, replace or swap with the
// next one that turns a into b (Damerau and Levenshtein).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			rows[i][j] = slices.Min([]int{rows[i-1][j] + 1, rows[i][j-1] + 1,
				rows[i-1][j-1] + same})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
