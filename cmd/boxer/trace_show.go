package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/boxer-sandbox/boxer/trace"
)

func traceShowCommand(code *int) *cobra.Command {
	var out traceOutput
	var follow bool
	cmd := &cobra.Command{
		Use:   "show [flags] FILE",
		Short: "Show a recorded trace, in any format",
		Long: `Read a trace that "boxer run --trace FILE" or "boxer trace -o FILE.jsonl" recorded,
and show it. If FILE is -, read stdin. boxer reports damaged lines, skips them, and
then ends with status 1.`,
		Example: `  boxer trace show db.jsonl                    # as strace writes it
  boxer trace show -c db.jsonl                 # tables: calls, peers, slowest connects
  boxer trace show db.jsonl -o db.pcapng       # for Wireshark
  boxer trace show db.jsonl --html db.html     # a timeline for the browser
  boxer trace show --follow db.jsonl           # while it is written`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.inputIsOutput(args); err != nil {
				return err
			}
			w, err := out.open(cmd.OutOrStdout(), "text")
			if err != nil {
				return err
			}
			damage := damageReport{w: cmd.ErrOrStderr()}
			if follow {
				err = followTrace(cmd.Context(), w, args[0], &damage)
			} else {
				err = showTrace(w, args[0], cmd.InOrStdin(), &damage)
			}
			if err == nil && damage.end() {
				*code = 1
			}
			return err
		},
	}
	out.register(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "F", false,
		"continue while the trace is written, until its end or ctrl-C")
	return cmd
}

// showTrace gives a recorded trace to a writer.
func showTrace(w trace.Writer, name string, stdin io.Reader, damage *damageReport) error {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return errors.Join(err, w.Close())
		}
		defer f.Close()
		stdin = f
	}
	if err := trace.Copy(w, trace.NewReader(stdin),
		func(err *trace.LineError) { damage.add(name, err) }); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// followTrace gives a trace to a writer while it is written, until it ends or ctx does.
func followTrace(ctx context.Context, w trace.Writer, name string,
	damage *damageReport) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	f, err := trace.Follow(ctx, name, w.Flush)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	defer f.Close()
	ending := &endWatcher{Writer: w, stop: stop}
	if err := trace.Copy(ending, trace.NewReader(f),
		func(err *trace.LineError) { damage.add(name, err) }); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// endWatcher calls stop after the last event of a trace.
type endWatcher struct {
	trace.Writer
	stop func()
}

func (w *endWatcher) Write(e trace.Event) error {
	if e.Type() == "end" {
		w.stop()
	}
	return w.Writer.Write(e)
}

// maxDamage is how many damaged lines are reported one by one.
const maxDamage = 5

// damageReport tells the user about damaged lines.
type damageReport struct {
	w       io.Writer
	damaged int
}

func (d *damageReport) add(name string, err *trace.LineError) {
	// the writer was stopped, or is still writing
	if errors.Is(err, trace.ErrTruncated) {
		fmt.Fprintf(d.w, "boxer: %s: %v; everything before it is intact\n", name, err)
		return
	}
	if d.damaged++; d.damaged <= maxDamage {
		fmt.Fprintf(d.w, "boxer: %s: %v; skipped\n", name, err)
	}
}

// end reports whether lines were damaged.
func (d *damageReport) end() bool {
	if d.damaged > maxDamage {
		fmt.Fprintf(d.w, "boxer: skipped %d more damaged lines\n",
			d.damaged-maxDamage)
	}
	return d.damaged > 0
}
