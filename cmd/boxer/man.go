//go:build man

package main

import (
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// init adds a command that writes the manual pages. Only releases need it
// (scripts/release), so the binary that people run does not carry the Markdown converter
// behind it.
func init() {
	extraCommands = append(extraCommands, manCommand)
}

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a manual page for each command to DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			header := &doc.GenManHeader{Title: "BOXER", Section: "1",
				Source: "boxer " + version, Manual: "Boxer"}
			// The date of the page is that of the sources, so that builds can be
			// repeated.
			if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
				seconds, err := strconv.ParseInt(s, 10, 64)
				if err != nil {
					return errors.New("SOURCE_DATE_EPOCH is not a number of seconds " +
						"since 1970: " + s)
				}
				date := time.Unix(seconds, 0).UTC()
				header.Date = &date
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, header, args[0])
		},
	}
}
