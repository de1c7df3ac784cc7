package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/trace"
)

// traceOutput is where a trace is shown and how: the flags of boxer trace, show and
// merge.
type traceOutput struct {
	file, format, html string
	summary            bool
	stamps             int
	options            trace.Options
}

func (o *traceOutput) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.file, "output", "o", "", "write to `FILE` instead of stdout")
	f.StringVar(&o.format, "format", "", "`FORMAT`: "+strings.Join(trace.Formats(), ", ")+
		"; by default that of the output's name (.jsonl, .pcapng, .perfetto.json, "+
		".html, .txt)")
	f.BoolVarP(&o.summary, "summary", "c", false,
		"print tables of calls, peers and the slowest connects, in addition to the "+
			"output of -o")
	f.StringVar(&o.html, "html", "", "write a page with timeline, search and summary "+
		"to `FILE`")
	f.CountVarP(&o.stamps, "time", "t", "text: show times of day; -tt: with "+
		"microseconds; -ttt: seconds since 1970")
	f.BoolVarP(&o.options.Relative, "relative", "r", false,
		"text: show the time since the line before")
	f.BoolVarP(&o.options.Durations, "durations", "T", false,
		"text: show how long each call took")
	f.BoolVar(&o.options.NoComments, "no-comments", false,
		"text: write only what strace would write, for programs that read its output")
}

// formatOf returns the format that a file's name says, or otherwise.
func formatOf(name, otherwise string) string {
	for _, known := range []struct{ ending, format string }{
		{".perfetto.json", "perfetto"}, {".perfetto", "perfetto"}, {".pcapng", "pcapng"},
		{".pcap", "pcapng"}, {".html", "html"}, {".htm", "html"},
		{".jsonl", "json"}, {".json", "json"}, {".strace", "text"}, {".txt", "text"},
		{".log", "text"},
	} {
		if strings.HasSuffix(strings.ToLower(name), known.ending) {
			return known.format
		}
	}
	return otherwise
}

// conflict is an error if --format and the output's name say different things.
func (o *traceOutput) conflict() error {
	named := formatOf(o.file, "")
	switch {
	case o.format == "" || named == "" || o.format == named:
	case o.format == "perfetto" && strings.HasSuffix(strings.ToLower(o.file), ".json"):
		// as Perfetto itself names them
	case o.format == "summary" && named == "text":
	default:
		return fmt.Errorf("-o %s --format %s: the name of the file says %s; leave "+
			"out --format, or use a name with another ending", o.file, o.format, named)
	}
	return nil
}

// open returns a writer for all outputs that the flags name; a file's format is
// otherwise, if neither flag nor name say more. Its Close closes the files too. Payload
// may be in them: only the user may read them.
func (o *traceOutput) open(stdout io.Writer, otherwise string) (_ trace.Writer,
	err error) {
	if err := o.conflict(); err != nil {
		return nil, err
	}
	o.options.Clock = trace.ClockStyle(min(o.stamps, int(trace.Epoch)))
	var all teeWriter
	defer func() {
		if err != nil {
			all.closeFiles()
		}
	}()
	add := func(file, format string) error {
		out := stdout
		if file != "" && file != "-" {
			f, err := trace.CreateFile(file, 0, 0)
			if err != nil {
				return err
			}
			all.files = append(all.files, f)
			out = f
		}
		w, err := trace.NewWriter(format, out, o.options)
		all.writers = append(all.writers, w)
		return err
	}
	if o.file != "" || !o.summary && o.html == "" {
		format := o.format
		if format == "" {
			format = formatOf(o.file, otherwise)
		}
		if err := add(o.file, format); err != nil {
			return nil, err
		}
	}
	if o.summary {
		if err := add("", "summary"); err != nil {
			return nil, err
		}
	}
	if o.html != "" {
		if err := add(o.html, "html"); err != nil {
			return nil, err
		}
	}
	return &all, nil
}

// inputIsOutput is an error if a trace would overwrite itself.
func (o *traceOutput) inputIsOutput(inputs []string) error {
	for _, out := range []string{o.file, o.html} {
		for _, in := range inputs {
			a, errA := os.Stat(out)
			b, errB := os.Stat(in)
			if errA == nil && errB == nil && os.SameFile(a, b) && a.Mode().IsRegular() {
				return fmt.Errorf("%s is both input and output: boxer would "+
					"overwrite it before it has read it; name another "+
					"output", filepath.Clean(in))
			}
		}
	}
	return nil
}

// teeWriter gives events to several writers.
type teeWriter struct {
	writers []trace.Writer
	files   []io.Closer
}

func (t *teeWriter) Write(e trace.Event) error {
	for _, w := range t.writers {
		if err := w.Write(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *teeWriter) Flush() error {
	for _, w := range t.writers {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (t *teeWriter) Close() error {
	var errs []error
	for _, w := range t.writers {
		errs = append(errs, w.Close())
	}
	return errors.Join(append(errs, t.closeFiles())...)
}

func (t *teeWriter) closeFiles() error {
	var errs []error
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	t.files = nil
	return errors.Join(errs...)
}
