package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/launcher"
	"github.com/boxer-sandbox/boxer/trace"
)

// traceFlags are the flags about what to trace and where to write it.
type traceFlags struct {
	out    traceOutput
	sets   string
	bytes  int
	fds    bool
	rotate string
}

func (t *traceFlags) register(cmd *cobra.Command) {
	t.out.register(cmd)
	f := cmd.Flags()
	f.Lookup("output").Usage = "write to `FILE` instead of stderr"
	f.StringVarP(&t.sets, "trace", "e", "network", "show these calls: `SET` is a list of file, process, desc, memory, signal, network, all and names of calls; !SET are all but those")
	f.IntVarP(&t.bytes, "strings", "s", 0, "show `N` bytes of what is sent and received; they may hold secrets")
	f.BoolVarP(&t.fds, "decode-fds", "y", false, "show what descriptors are: 3<TCP:[10.111.0.2:40110->10.111.0.3:5432]>")
	f.StringVar(&t.rotate, "rotate", "", "begin a new file when FILE.jsonl has `SIZE` bytes, such as 100M; five older ones are kept")
}

// keptFiles is how many files --rotate keeps beside the one that is written.
const keptFiles = 5

// parseSize reads a number of bytes with K, M or G behind it; "" is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	digits, unit := s, int64(1)
	if i := strings.IndexAny("KMG", strings.ToUpper(s[len(s)-1:])); i >= 0 {
		digits, unit = s[:len(s)-1], 1<<(10*(i+1))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > 1<<50/unit {
		return 0, fmt.Errorf("--rotate %q: not a size; use a number of bytes such as 65536, 100M or 1G", s)
	}
	return n * unit, nil
}

// maxShown bounds -s, in bytes.
const maxShown = 1 << 20

// sink makes what the flags ask for.
func (t *traceFlags) sink() (*trace.Sink, error) {
	if t.bytes < 0 || t.bytes > maxShown {
		return nil, fmt.Errorf("-s %d: want a number of bytes from 0 to %d", t.bytes, maxShown)
	}
	max, err := parseSize(t.rotate)
	if err != nil {
		return nil, err
	}
	var w io.WriteCloser
	format := t.out.format
	if format == "" {
		format = formatOf(t.out.file, "text")
	}
	switch {
	case t.out.file != "" && format == "json" && !t.out.summary && t.out.html == "":
		w, err = trace.CreateFile(t.out.file, max, keptFiles)
	case max > 0:
		err = errors.New("--rotate: only a file of JSON lines can be rotated; use -o FILE.jsonl, without -c and --html")
	default:
		var all trace.Writer
		if all, err = t.out.open(os.Stderr, "text"); err == nil {
			w = trace.Convert(all, nil)
		}
	}
	if err != nil {
		return nil, err
	}
	return trace.NewSink(w, 0), nil
}

// sinkPatience bounds how long the end of a trace may take to write.
const sinkPatience = 10 * time.Second

// closeSink writes what is left of a trace, and says what is missing.
func closeSink(s *trace.Sink) error {
	err := s.Close(sinkPatience)
	if n := s.Dropped(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d events are missing in the trace: they came faster than they could be written", n))
	}
	return err
}

// config is what the flags mean for a program that is started.
func (t *traceFlags) config(argv []string) (*launcher.Trace, error) {
	if t.sets == "" {
		t.sets = "network"
	}
	sel, err := launcher.ParseSelection(t.sets)
	if err != nil {
		return nil, err
	}
	sink, err := t.sink()
	if err != nil {
		return nil, err
	}
	return &launcher.Trace{Sink: sink, Bytes: t.bytes, FDs: t.fds, Select: sel,
		Header: trace.Header{Boxer: version, Program: argv[0]}}, nil
}

func traceCommand(code *int) *cobra.Command {
	var t traceFlags
	var run runFlags
	cmd := &cobra.Command{
		Use:   "trace [flags] [--] COMMAND [ARG...]",
		Short: "Run a program as a node and show what it does with the network",
		Long: `Run a program as "boxer run" does, and show its system calls, what became of its
connections, which node and which path served them, and what they waited for. It
needs no ptrace: it works where strace is not allowed.

Calls of the network read as strace writes them; comments, /* like this */, say
what boxer did. Calls whose result only the kernel knows have "?" for it.
What programs send and receive is shown only with -s N.

Exit codes: as "boxer run".`,
		Example: `  boxer trace -- curl http://web/
  boxer trace -o db.jsonl --name db -- postgres -D data
  boxer trace -c -- ./job
  boxer trace show db.jsonl
  boxer trace merge web.jsonl db.jsonl --html both.html`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errNoCommand
			}
			cfg, err := run.config(cmd.Context(), args)
			if err != nil {
				return err
			}
			return runTraced(cmd, cfg, &t, code)
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	run.register(cmd)
	t.register(cmd)
	cmd.AddCommand(traceShowCommand(code), traceMergeCommand(code))
	return cmd
}

// runTraced runs a program and writes its trace.
func runTraced(cmd *cobra.Command, cfg launcher.RunConfig, t *traceFlags, code *int) (err error) {
	if cfg.Trace, err = t.config(cfg.Argv); err != nil {
		return err
	}
	*code, err = launcher.Run(cmd.Context(), cfg)
	if cerr := closeSink(cfg.Trace.Sink); cerr != nil {
		report(cerr) // the program's end counts, not the trace's
	}
	return err
}

// runsProgram reports whether the command line runs a program, which gets this
// process's signals.
func runsProgram(args []string) bool {
	switch {
	case len(args) == 0:
		return false
	case args[0] == "trace":
		return len(args) == 1 || args[1] != "show" && args[1] != "merge"
	}
	return args[0] == "run"
}
