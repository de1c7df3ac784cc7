package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/boxer-sandbox/boxer/launcher"
)

// errEscapes is the error of doctor for a file with calls that boxer cannot take. The
// list names them.
var errEscapes = errors.New("boxer cannot rewrite some system calls of the file: see " +
	"impossible above")

// printSites prints the system-call instructions of a file, and a sum.
func printSites(w io.Writer, path string, asJSON bool) error {
	sites, err := launcher.Sites(path)
	if err != nil {
		return err
	}
	ok := true
	count := make(map[string]int)
	for _, s := range sites {
		ok = ok && s.OK
		count[s.Way]++
	}
	if asJSON {
		err = printJSON(w, sites)
	} else {
		err = writeSites(w, sites, count)
	}
	if err == nil && !ok {
		err = errEscapes
	}
	return err
}

func writeSites(w io.Writer, sites []launcher.Site, count map[string]int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tCALL\tWAY\tREPLACED")
	for _, s := range sites {
		call, replaced := s.Call, s.Why
		if call == "" {
			call = "(any)"
		}
		if s.Len > 0 {
			replaced = fmt.Sprintf("%d bytes at %#x", s.Len, s.Start)
		}
		fmt.Fprintf(t, "%#x\t%s\t%s\t%s\n", s.Addr, call, s.Way, replaced)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d sites", len(sites))
	for _, way := range []string{"untouched", "seven bytes", "window", "branch",
		"impossible"} {
		if count[way] > 0 {
			fmt.Fprintf(w, ", %d %s", count[way], way)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}
