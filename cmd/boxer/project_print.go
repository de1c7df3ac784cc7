package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/boxer-sandbox/boxer/project"
	"github.com/spf13/cobra"
)

func printEvent(w io.Writer, e project.Event, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(e)
	}
	var attributes []string
	for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
		attributes = append(attributes, name+"="+e.Attributes[name])
	}
	text := ""
	if len(attributes) > 0 {
		text = " (" + strings.Join(attributes, ", ") + ")"
	}
	_, err := fmt.Fprintf(w, "%s %s %s%s\n", e.Time.Local().Format(timestamp), e.Instance,
		e.Action, text)
	return err
}

// timestamp is the format of times for people.
const timestamp = "2006-01-02 15:04:05.000"

func projectPSCommand() *cobra.Command {
	var p projectFlags
	var all, quiet, services bool
	var format string
	cmd := &cobra.Command{
		Use:   "ps [flags] [SERVICE...]",
		Short: "List the instances of a project's services",
		Long: `List the instances of a project's services: those that run, and with --all those that
have ended, too.`,
		Example: "  boxer ps --all\n  boxer ps --format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := p.find()
			if err != nil {
				return err
			}
			states, err := project.States(cmd.Context(), d)
			if err != nil {
				return err
			}
			states = slices.DeleteFunc(states, func(i project.InstanceState) bool {
				return !all && i.State == project.Exited || len(args) > 0 &&
					!slices.Contains(args, i.Service) && !slices.Contains(args, i.Name)
			})
			return printStates(cmd.OutOrStdout(), states, format, quiet, services)
		},
	}
	p.register(cmd)
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "a", false, "also what has ended")
	f.BoolVarP(&quiet, "quiet", "q", false, "only the names of the instances")
	f.BoolVar(&services, "services", false, "only the names of the services")
	f.StringVar(&format, "format", "table", "`FORMAT` of the list: table or json")
	return cmd
}

func printStates(w io.Writer, states []project.InstanceState, format string,
	quiet, services bool) error {
	switch {
	case quiet || services:
		var names []string
		for _, i := range states {
			if name := i.Service; services && !slices.Contains(names, name) {
				names = append(names, name)
			} else if quiet {
				names = append(names, i.Name)
			}
		}
		for _, name := range names {
			fmt.Fprintln(w, name)
		}
		return nil
	case format == "json":
		for _, i := range states {
			if err := json.NewEncoder(w).Encode(i); err != nil {
				return err
			}
		}
		return nil
	case format != "table":
		return fmt.Errorf("--format %q: use table or json", format)
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tCOMMAND\tSERVICE\tSTATUS\tWHERE\tADDRESS\tPORTS")
	for _, i := range states {
		where := i.Host
		if where == "" {
			where = "here"
			if i.ProgramPID > 0 {
				where += fmt.Sprintf(" (pid %d)", i.ProgramPID)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.Name, shorten(i.Command),
			i.Service,
			statusOf(i), where, i.Addr, strings.Join(i.Publish, ", "))
	}
	return t.Flush()
}

// statusOf says how an instance is, as docker compose does.
func statusOf(i project.InstanceState) string {
	since := func(t time.Time) string { return time.Since(t).Round(time.Second).String() }
	text := i.State
	switch i.State {
	case project.Running:
		text = "Up " + since(i.Started)
		if i.Health != "" {
			text += " (" + i.Health + ")"
		}
	case project.Exited:
		text = fmt.Sprintf("Exited (%d)", i.ExitCode)
		if !i.Ended.IsZero() {
			text += " " + since(i.Ended) + " ago"
		}
	case project.Restarting:
		text = fmt.Sprintf("Restarting (%d)", i.ExitCode)
	}
	if i.Error != "" {
		text += ": " + i.Error
	}
	return text
}

// shorten cuts a command to what a table has room for.
func shorten(s string) string {
	const room = 30
	if r := []rune(s); len(r) > room {
		s = string(r[:room-1]) + "…"
	}
	return `"` + s + `"`
}

func projectLogsCommand() *cobra.Command {
	var p projectFlags
	var out lineFlags
	var follow bool
	var tail, since, until string
	cmd := &cobra.Command{
		Use:   "logs [flags] [SERVICE...]",
		Short: "Show what the services of a project have written",
		Long: `Show what the services of a project have written, also those that have ended. Boxer
keeps the last 16 to 32 MiB of a project. With --follow, show what they go on to write,
until they have all ended.`,
		Example: "  boxer logs --follow --tail 10 web",
		RunE: func(cmd *cobra.Command, args []string) error {
			f := project.LogFilter{Instances: args, Tail: -1}
			var err error
			if tail != "all" {
				if _, err := fmt.Sscan(tail, &f.Tail); err != nil || f.Tail < 0 {
					return fmt.Errorf("--tail %q: use all or a number of lines", tail)
				}
			}
			if f.Since, err = parseWhen("since", since); err != nil {
				return err
			}
			if f.Until, err = parseWhen("until", until); err != nil {
				return err
			}
			d, err := p.find()
			if err != nil {
				return err
			}
			states, err := project.States(cmd.Context(), d)
			if err != nil {
				return err
			}
			print := out.printer(cmd.OutOrStdout(), namesOf(states))
			if c, err := project.Connect(d); err == nil {
				return c.Logs(cmd.Context(), f, follow, print)
			}
			return d.ReadLog(f, print)
		},
	}
	p.registerAs(cmd, "")
	out.register(cmd)
	g := cmd.Flags()
	g.BoolVarP(&follow, "follow", "f", false, "go on with what they write")
	g.StringVarP(&tail, "tail", "n", "all", "only the last `N` lines of each instance")
	g.StringVar(&since, "since", "", "only what was written after `TIME`: 2026-11-28T12:00:00Z, or 10m for ten minutes ago")
	g.StringVar(&until, "until", "", "only what was written before `TIME`")
	return cmd
}

func namesOf(states []project.InstanceState) (names []string) {
	for _, i := range states {
		names = append(names, i.Name)
	}
	return names
}

// parseWhen reads a time, or a duration before now.
func parseWhen(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05",
		"2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("--" + flag + " " + s +
		": use a time such as 2026-11-28T12:00:00Z, or a duration such as 10m")
}

// lineFlags say how lines are shown.
type lineFlags struct {
	noColor, noPrefix, timestamps bool
}

func (l *lineFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&l.noColor, "no-color", false, "no colours; NO_COLOR says the same")
	f.BoolVar(&l.noPrefix, "no-log-prefix", false, "without the names of the instances")
	f.BoolVar(&l.timestamps, "timestamps", false, "with the times of the lines")
}

// colours are those of the names, in the order in which docker compose takes them.
var colours = []int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}

// printer returns what prints lines. The names are those of the instances that are known
// already; an instance keeps its colour.
func (l *lineFlags) printer(w io.Writer, names []string) func(project.Line) error {
	coloured := !l.noColor && os.Getenv("NO_COLOR") == "" && isTerminal(w)
	var mu sync.Mutex
	width := 0
	colour := map[string]int{}
	learn := func(name string) {
		if _, ok := colour[name]; !ok {
			colour[name] = colours[len(colour)%len(colours)]
			width = max(width, len(name))
		}
	}
	for _, name := range names {
		learn(name)
	}
	return func(line project.Line) error {
		mu.Lock()
		defer mu.Unlock()
		learn(line.Instance)
		prefix := ""
		if !l.noPrefix {
			prefix = fmt.Sprintf("%-*s  | ", width, line.Instance)
			if coloured {
				prefix = fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour[line.Instance], prefix)
			}
		}
		if l.timestamps {
			prefix += line.Time.Format(time.RFC3339Nano) + " "
		}
		_, err := fmt.Fprintf(w, "%s%s\n", prefix, line.Text)
		return err
	}
}
