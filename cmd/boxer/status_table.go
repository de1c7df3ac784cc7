package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// A table has rows of cells, whose columns are as wide as their widest cell. Unlike that
// of text/tabwriter, a column does not end where a row has fewer cells.
type table [][]string

// write prints the table with two spaces between the columns, and none at the ends of
// lines.
func (t table) write(w io.Writer) error {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range t {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printStatus(w io.Writer, v view, shown []coordinator.Member) error {
	fmt.Fprintf(w, "%s (boxer %s, up %v, %v)\n", v.network, v.snap.Version,
		time.Since(v.snap.Started).Truncate(time.Second), v.snap.Prefix)
	if len(shown) == 0 {
		_, err := fmt.Fprintln(w, "no nodes")
		return err
	}
	names := make(map[uint32]string)
	for _, m := range v.snap.Members {
		names[m.ID] = m.Name
	}
	hosts := hostLetters(v.snap.Members)
	t := table{strings.Fields("NODE NAME ADDRESS IPV6 UP HOST BOXER PROGRAM LISTENS " +
		"PATH-TO KIND REMOTE RTT SENT RECEIVED")}
	t[0][9] = "PATH TO"
	for _, m := range shown {
		row := memberCells(m, v.self, hosts)
		if len(m.Paths) == 0 {
			t = append(t, row)
		}
		for _, p := range m.Paths {
			t = append(t, append(row, pathCells(p, names)...))
			row = make([]string, len(row)) // further paths stand below the first
		}
	}
	return t.write(w)
}

// memberCells is what stands before a node's first path.
func memberCells(m coordinator.Member, self uint32, hosts map[string]string) []string {
	id, six := fmt.Sprint(m.ID), "-"
	if m.ID == self {
		id = "*" + id
	}
	if m.Addr6.IsValid() {
		six = m.Addr6.String()
	}
	up := time.Since(m.Since).Truncate(time.Second).String()
	if m.Unresponsive {
		up += " (silent)"
	}
	if m.Over != "" {
		up += " (over " + m.Over + ")"
	}
	return []string{id, m.Name, m.Addr.String(), six, up, hosts[m.Host],
		orDash(m.Program), orDash(command(m)), orDash(ports(m))}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// command is the name of the program that a node runs.
func command(m coordinator.Member) string {
	if m.About == nil {
		return ""
	}
	return m.About.Command
}

// maxShownPorts is how many ports a line of the table has room for.
const maxShownPorts = 5

func ports(m coordinator.Member) string {
	if m.About == nil {
		return ""
	}
	var all []string
	for _, p := range m.About.Ports {
		all = append(all, strconv.Itoa(int(p)))
	}
	if len(all) > maxShownPorts {
		all = append(all[:maxShownPorts], "...")
	}
	return strings.Join(all, ",")
}

func pathCells(p coordinator.PathReport, names map[uint32]string) []string {
	peer := names[p.Peer]
	if peer == "" {
		peer = coordinator.OrdinalName(p.Peer)
	}
	kind := p.Kind
	if kind == "local" {
		kind = "same host"
	}
	if p.Direct {
		kind += ", direct"
	}
	return []string{peer, kind, p.Remote.String(), p.RTT.Round(time.Microsecond).String(),
		size(p.BytesSent), size(p.BytesReceived)}
}

// hostLetters gives each host a short name: a to z, then aa and so on, in the order of
// the members. Of a host without an id nothing is known.
func hostLetters(members []coordinator.Member) map[string]string {
	hosts := map[string]string{"": "-"}
	for _, m := range members {
		if hosts[m.Host] == "" {
			hosts[m.Host] = letters(len(hosts) - 1)
		}
	}
	return hosts
}

// letters counts a, b, ... z, aa, ab as columns of spreadsheets do, n from 0.
func letters(n int) (s string) {
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

// size prints a number of bytes with a binary prefix (IEC 80000-13).
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
