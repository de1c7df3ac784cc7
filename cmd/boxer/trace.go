package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
	node   string
	pid    int
}

func (t *traceFlags) register(cmd *cobra.Command) {
	t.out.register(cmd)
	f := cmd.Flags()
	f.Lookup("output").Usage = "write to `FILE` instead of stderr"
	f.StringVarP(&t.sets, "trace", "e", "network", "show the calls of `SET`, a list "+
		"of network, connections (network without sends and "+
		"receives: cheap), file, process, desc, memory, signal, all, and names of "+
		"calls; !SET shows all others")
	f.IntVarP(&t.bytes, "strings", "s", 0, "show up to `N` bytes of each send and "+
		"receive; they may contain secrets")
	f.BoolVarP(&t.fds, "decode-fds", "y", false,
		"show what each descriptor refers to: 3<TCP:[10.111.0.2:40110->10.111.0.3:5432]>")
	f.StringVar(&t.rotate, "rotate", "", "begin a new file when FILE.jsonl has "+
		"`SIZE` bytes, such as 100M, and keep five older files")
}

// keptFiles is how many older files --rotate keeps.
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
		return 0, fmt.Errorf("--rotate %q: not a size; use a number of bytes such as "+
			"65536, 100M or 1G", s)
	}
	return n * unit, nil
}

// maxShown bounds -s, in bytes.
const maxShown = 1 << 20

// sink returns the sink that the flags ask for.
func (t *traceFlags) sink() (*trace.Sink, error) {
	if t.bytes < 0 || t.bytes > maxShown {
		return nil, fmt.Errorf("-s %d: it must be a number of bytes from 0 to %d", t.bytes,
			maxShown)
	}
	max, err := parseSize(t.rotate)
	if err != nil {
		return nil, err
	}
	if err := t.out.conflict(); err != nil {
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
		err = errors.New("--rotate: boxer can rotate only a file of JSON lines; use " +
			"-o FILE.jsonl, without -c and --html")
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

// closeSink writes the rest of a trace, and reports missing events.
func closeSink(s *trace.Sink) error {
	err := s.Close(sinkPatience)
	if n := s.Dropped(); n > 0 {
		err = errors.Join(err, fmt.Errorf("the trace lacks %d events, which came "+
			"faster than boxer could write them", n))
	}
	return err
}

// config is what the flags mean for a program that is started.
func (t *traceFlags) config(argv []string) (*launcher.Trace, error) {
	if t.sets == "" {
		t.sets = "connections" // boxer run --trace: for as long as the program runs
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
		Long: `Run a program as "boxer run" does. Show its system calls and its connections: how they
ended, which node and which path served them, and what they waited for. boxer trace
needs no ptrace(2) and works where strace is not allowed.

Calls are written as strace writes them. Comments, /* like this */, say what boxer
did. The result is "?" where only the kernel knows it. What programs send and
receive is shown only with -s N.

Exit codes: as "boxer run".`,
		Example: `  boxer trace -- curl http://web/
  boxer trace -o db.jsonl --name db -- postgres -D data
  boxer trace -c -- ./job
  boxer trace --node db                                # attach until ctrl-C
  boxer trace show db.jsonl
  boxer trace merge web.jsonl db.jsonl --html both.html`,
		ValidArgsFunction: completeCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (t.node != "" || t.pid != 0) && len(args) > 0:
				return errors.New("boxer cannot start a command and attach to " +
					"another: leave out the command, or --node and --pid")
			case t.node != "" || t.pid != 0:
				return t.attach(cmd.Context())
			case len(args) == 0:
				return usage(cmd, errNoCommand)
			}
			if err := notInside("to trace this node, run boxer trace --node " +
				"NAME; to trace a command, run boxer trace outside"); err != nil {
				return err
			}
			cfg, err := run.config(cmd.Context(), args)
			if err != nil {
				return err
			}
			return runTraced(cmd, &run, cfg, &t, code)
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	run.register(cmd)
	t.register(cmd)
	cmd.Flags().StringVar(&t.node, "node", "", "attach to the running node `NAME` of "+
		"this user on this host, until ctrl-C")
	cmd.Flags().IntVarP(&t.pid, "pid", "p", 0, "attach to the node of the process "+
		"`PID`; if that is the first process of the "+
		"program, or boxer itself, show the whole node, otherwise that process")
	cmd.Flags().BoolP("follow-forks", "f", true,
		"accepted for compatibility with strace; child processes are always shown")
	cmd.AddCommand(traceShowCommand(code), traceMergeCommand(code))
	return cmd
}

// attach shows what a running program does, until the program ends or a signal arrives.
func (t *traceFlags) attach(ctx context.Context) (err error) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	sel, err := launcher.ParseSelection(t.sets)
	if err != nil {
		return err
	}
	if t.pid < 0 {
		return fmt.Errorf("-p %d: a process id must be above 0", t.pid)
	}
	a, err := launcher.Attach(t.node, t.pid,
		launcher.Trace{Bytes: t.bytes, FDs: t.fds, Select: sel})
	if err != nil {
		return err
	}
	defer a.Close()
	if !a.Trapped {
		fmt.Fprintf(os.Stderr, "boxer: %s (process %d) was not started by boxer "+
			"trace; the trace has its connections and the calls that boxer answers, "+
			"and no other calls\n", a.Name, a.PID)
	}
	defer context.AfterFunc(ctx, func() { a.Detach() })()
	w, err := t.out.open(os.Stderr, "text")
	if err != nil {
		return err
	}
	if a.Process != 0 {
		w = trace.OfProcess(w, a.Process)
	}
	if err := trace.Copy(w, trace.NewReader(flushing{a, w}), nil); err != nil {
		return fmt.Errorf("attached trace: %w", err)
	}
	return nil
}

// flushing shows what was read before it waits for more.
type flushing struct {
	io.Reader
	w trace.Writer
}

func (f flushing) Read(b []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, err
	}
	return f.Reader.Read(b)
}

// runTraced runs a program and writes its trace.
func runTraced(cmd *cobra.Command, run *runFlags, cfg launcher.RunConfig, t *traceFlags,
	code *int) (err error) {
	if cfg.Trace, err = t.config(cfg.Argv); err != nil {
		return err
	}
	*code, err = run.runNode(cmd.Context(), cfg)
	if cerr := closeSink(cfg.Trace.Sink); cerr != nil {
		report(cerr) // boxer's status is the program's
	}
	return err
}

// runsProgram reports whether the command line runs a program, here or elsewhere, which
// gets this process's signals.
func runsProgram(args []string) bool {
	switch {
	case len(args) == 0:
		return false
	case args[0] == "trace":
		return len(args) == 1 || args[1] != "show" && args[1] != "merge"
	}
	if args[0] == "lambda" { // whose exec passes signals on
		return len(args) > 1 && args[1] == "exec"
	}
	return args[0] == "run" || args[0] == "exec" || args[0] == "attach"
}
