package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A report contains all measurements.
type report struct {
	Machine string
	Rounds  int
	Labs    []*labReport
}

// A labReport contains a value for each figure, contender and round.
type labReport struct {
	Name, What string
	Contenders []entrant
	Values     map[string]map[string][]float64 // by the names of figure and contender
}

// An entrant is a contender, in JSON.
type entrant struct {
	Name, What string
	Note       string `json:",omitempty"`
	// an alternative to boxer that users could choose, and that also encrypts
	Other bool `json:",omitempty"`
	field *field
}

func newLabReport(lab setting, fields []*field) *labReport {
	r := &labReport{Name: lab.name, What: lab.String(),
		Values: make(map[string]map[string][]float64)}
	for _, f := range fields {
		r.Contenders = append(r.Contenders,
			entrant{Name: f.name, What: f.what, Other: f.other, field: f})
	}
	return r
}

// machine describes the machine for the reader.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d virtual cores, Linux %s, %s, %s",
		runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.GOARCH,
		runtime.Version())
}

// add adds a value of this round.
func (r *labReport) add(f figure, contender string, value float64) {
	if r.Values[f.name] == nil {
		r.Values[f.name] = make(map[string][]float64)
	}
	r.Values[f.name][contender] = append(r.Values[f.name][contender], value)
}

// print writes the tables: the figures, and boxer's comparison with the others. They are
// in Markdown, so that a document can contain them.
func (r *labReport) print(w io.Writer, all *report) {
	fmt.Fprintf(w, "## Lab %s\n\n%s; %s.\n%d rounds; medians, and in brackets the least and the most of a round.\n\n", r.Name, all.Machine, r.What, all.Rounds)
	for i := range r.Contenders {
		c := &r.Contenders[i]
		if c.field != nil {
			c.Note = c.field.note // found during the measurement
		}
		fmt.Fprintf(w, "- %s: %s", c.Name, c.What)
		if c.Note != "" {
			fmt.Fprintf(w, "; %s", c.Note)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	r.table(w, "", func(values []float64, _ figure) string {
		return fmt.Sprintf("%s [%s-%s]", digits(median(values)),
			digits(slices.Min(values)), digits(slices.Max(values)))
	})
	fmt.Fprintf(w, "\nIn multiples of native:\n\n")
	r.table(w, "", func(values []float64, f figure) string {
		x := ratios(values, r.Values[f.name][nativeName])
		if len(x) == 0 {
			return ""
		}
		return digits(median(x))
	})
	r.printBest(w)
}

// table writes a row for each figure and a column for each contender.
func (r *labReport) table(w io.Writer, title string,
	cell func(values []float64, f figure) string) {
	row := []string{title}
	for _, c := range r.Contenders {
		row = append(row, c.Name)
	}
	writeRow(w, row)
	writeRow(w, slices.Repeat([]string{"---"}, len(row)))
	for _, f := range figures() {
		row := []string{f.name + " (" + f.unit + ")"}
		for _, c := range r.Contenders {
			text := ""
			if values := r.Values[f.name][c.Name]; len(values) > 0 {
				text = cell(values, f)
			}
			row = append(row, text)
		}
		if slices.ContainsFunc(row[1:], func(s string) bool { return s != "" }) {
			writeRow(w, row)
		}
	}
}

func writeRow(w io.Writer, cells []string) { fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |") }

// printBest writes how boxer compares with the best alternative.
func (r *labReport) printBest(w io.Writer) {
	fmt.Fprintf(w, "\nBoxer against the best alternative that encrypts:\n\n")
	writeRow(w, []string{"", "boxer", "best alternative", "", "boxer / it"})
	writeRow(w, slices.Repeat([]string{"---"}, 5))
	for _, f := range figures() {
		ours := r.Values[f.name][boxerName]
		best := r.best(f)
		if len(ours) == 0 || best == "" {
			continue
		}
		theirs := r.Values[f.name][best]
		ratio := ""
		if x := ratios(ours, theirs); len(x) > 0 {
			ratio = digits(median(x))
		}
		writeRow(w, []string{f.name + " (" + f.unit + ")", digits(median(ours)), best,
			digits(median(theirs)), ratio})
	}
	fmt.Fprintln(w)
}

// best returns the alternative with the best median.
func (r *labReport) best(f figure) (name string) {
	var least float64
	for _, c := range r.Contenders {
		values := r.Values[f.name][c.Name]
		if !c.Other || len(values) == 0 {
			continue
		}
		if m := median(values); name == "" || f.more == (m > least) {
			name, least = c.Name, m
		}
	}
	return name
}

// printGoals writes how far boxer is from its goals.
func (r *report) printGoals(w io.Writer) {
	fmt.Fprintf(w, "## Goals\n\n")
	writeRow(w, []string{"lab", "figure", "goal", "is", ""})
	writeRow(w, slices.Repeat([]string{"---"}, 5))
	for _, g := range goals {
		i := slices.IndexFunc(r.Labs, func(l *labReport) bool { return l.Name == g.lab })
		if i < 0 {
			continue
		}
		is, ok := g.is(r.Labs[i])
		if !ok {
			continue
		}
		verdict := "met"
		if is > g.bound && !g.figure.more || is < g.bound && g.figure.more {
			verdict = "MISSED"
		}
		writeRow(w, []string{g.lab, g.figure.name, g.wanted(), digits(is), verdict})
	}
}

// is returns the median of boxer's figure in the goal's terms. ok is false if it was not
// measured.
func (g goal) is(r *labReport) (is float64, ok bool) {
	values := r.Values[g.figure.name][boxerName]
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
	text, bound := "at most ", g.bound
	if g.figure.more {
		text = "at least "
	}
	switch {
	case g.against == "":
		return text + digits(bound) + " " + g.figure.unit
	case g.extra && bound < 0:
		return "at least " + digits(-bound) + " " + g.figure.unit + " less than " +
			g.against
	case g.extra:
		return text + digits(bound) + " " + g.figure.unit + " more than " + g.against
	}
	return text + digits(bound) + " times " + g.against
}

// digits rounds to about three digits, because the others are not significant.
func digits(v float64) string {
	switch size := max(v, -v); {
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// writeJSON writes the report to the file name, if name is not empty.
func (r *report) writeJSON(file string) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
