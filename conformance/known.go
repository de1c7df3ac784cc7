package conformance

import (
	"cmp"
	"fmt"
	"strings"
)

// A Difference is something that programs can see boxer do otherwise than Linux.
type Difference struct {
	Call, Linux, Boxer, Why string // for people, in Markdown

	// Places are where the suite meets it. There is none if the suite cannot
	// tell for sure, because it is a matter of timing.
	Places []Place
	Hosts  int // if not 0, it is so only if the two nodes have that many hosts

	Interposer string // if not empty, it is so only with that one: seccomp or rewrite
}

// A Place is where a case prints something else under boxer.
type Place struct {
	Case  string // PROGRAM/CASE/SIDE
	Linux string // the lines that it prints bare
	Boxer string // the lines that stand in their place under boxer
}

// Table returns the known differences as a table of Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| call | Linux | boxer | interposer | why |\n|---|---|---|---|---|\n")
	for _, d := range known {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", d.Call, d.Linux, d.Boxer,
			cmp.Or(d.Interposer, "both"), d.Why)
	}
	return b.String()
}
