package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// A report has what was measured: a value for each figure, contender and round.
type report struct {
	Machine    string
	Lab        string
	Rounds     int
	Contenders []entrant
	Values     map[string]map[string][]float64 // by the names of figure and contender
}

// An entrant is a contender, in JSON.
type entrant struct {
	Name, What string
	Note       string `json:",omitempty"`
	field      *field
}

func newReport(o options, fields []*field) *report {
	r := &report{Machine: machine(), Rounds: o.rounds, Values: make(map[string]map[string][]float64)}
	r.Lab = "two functions, each behind a NAT of its own"
	if o.rate > 0 {
		r.Lab += fmt.Sprintf("; the server's link limited to %d Mbit/s", o.rate/1e6)
	}
	if o.loss > 0 {
		r.Lab += fmt.Sprintf("; %v %% of its packets lost each way", o.loss*100)
	}
	for _, f := range fields {
		r.Contenders = append(r.Contenders, entrant{Name: f.name, What: f.what, field: f})
	}
	return r
}

// machine describes it for the reader.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d virtual cores, Linux %s, %s, %s",
		runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.GOARCH, runtime.Version())
}

// add notes a value of this round.
func (r *report) add(f figure, contender string, value float64) {
	if r.Values[f.name] == nil {
		r.Values[f.name] = make(map[string][]float64)
	}
	r.Values[f.name][contender] = append(r.Values[f.name][contender], value)
}

// print writes the tables: the figures, what they are in multiples of native, and the goals.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s; %s\n%d rounds; medians, and in brackets the least and the most of a round\n\n", r.Machine, r.Lab, r.Rounds)
	for _, c := range r.Contenders {
		fmt.Fprintf(w, "  %-14s%s", c.Name, c.What)
		if c.field != nil && c.field.note != "" {
			fmt.Fprintf(w, "; %s", c.field.note)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	r.table(w, "", func(f figure, contender string) string {
		values := r.Values[f.name][contender]
		if len(values) == 0 {
			return "-"
		}
		return fmt.Sprintf("%s [%s-%s]", digits(median(values)), digits(slices.Min(values)), digits(slices.Max(values)))
	})
	fmt.Fprintln(w)
	r.table(w, "in multiples of native", func(f figure, contender string) string {
		x := ratios(r.Values[f.name][contender], r.Values[f.name][nativeName])
		if len(x) == 0 {
			return "-"
		}
		return digits(median(x))
	})
	fmt.Fprintln(w)
	r.goals(w)
}

// table writes a row for each figure and a column for each contender.
func (r *report) table(w io.Writer, title string, cell func(f figure, contender string) string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintf(t, "%s\t", title)
	for _, c := range r.Contenders {
		fmt.Fprintf(t, "%s\t", c.Name)
	}
	fmt.Fprintln(t)
	for _, f := range figures {
		if r.Values[f.name] == nil {
			continue
		}
		fmt.Fprintf(t, "%s (%s)\t", f.name, f.unit)
		for _, c := range r.Contenders {
			fmt.Fprintf(t, "%s\t", cell(f, c.Name))
		}
		fmt.Fprintln(t)
	}
}

// goals writes how far boxer is from where it should be.
func (r *report) goals(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "goal for boxer\twanted\tis\t")
	for _, g := range goals {
		is, ok := g.is(r)
		if !ok {
			continue
		}
		verdict := "met"
		if is > g.bound && !g.figure.more || is < g.bound && g.figure.more {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", g.figure.name, g.wanted(), digits(is), verdict)
	}
}

// is returns the median of boxer's figure as the goal has it. ok is false if it was not measured.
func (g goal) is(r *report) (is float64, ok bool) {
	values := r.Values[g.figure.name]["boxer"]
	switch by := r.Values[g.figure.name][g.against]; {
	case g.against == "":
	case g.extra:
		values = differences(values, by)
	default:
		values = ratios(values, by)
	}
	if len(values) == 0 {
		return 0, false
	}
	return median(values), true
}

func (g goal) wanted() string {
	text := "at most "
	if g.figure.more {
		text = "at least "
	}
	text += digits(g.bound)
	switch {
	case g.against == "":
		return text + " " + g.figure.unit
	case g.extra:
		return text + " " + g.figure.unit + " more than " + g.against
	}
	return text + " times " + g.against
}

// digits leaves three digits or so, as the rest says nothing.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// writeJSON writes the report to a file, if it has a name.
func (r *report) writeJSON(file string) error {
	if file == "" {
		return nil
	}
	for i := range r.Contenders {
		if f := r.Contenders[i].field; f != nil {
			r.Contenders[i].Note = f.note
		}
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
