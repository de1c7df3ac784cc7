package conformance

import (
	"fmt"
	"strings"
)

// A Difference is something that a program can see boxer do otherwise than Linux.
type Difference struct {
	Case  string // PROGRAM/CASE/SIDE
	Call  string // what differs, for people
	Linux string // the lines that a program prints bare
	Boxer string // the lines in their place under boxer
	Why   string
}

// Known are the differences that do not fail the test.
func Known() []Difference { return known }

var known = []Difference{}

// Table returns the known differences as a table of Markdown. Rows that are about the same appear once.
func Table() string {
	var b strings.Builder
	b.WriteString("| call | Linux | boxer | why |\n|---|---|---|---|\n")
	seen := map[string]bool{}
	for _, d := range known {
		row := fmt.Sprintf("| %s | %s | %s | %s |\n", d.Call, cell(d.Linux), cell(d.Boxer), d.Why)
		if !seen[row] {
			b.WriteString(row)
		}
		seen[row] = true
	}
	return b.String()
}

// cell puts lines into one cell of a table.
func cell(lines string) string {
	if lines == "" {
		return "(nothing)"
	}
	var cells []string
	for line := range strings.Lines(lines) {
		cells = append(cells, "`"+strings.ReplaceAll(strings.TrimSpace(line), "|", "+")+"`")
	}
	return strings.Join(cells, "<br>")
}
