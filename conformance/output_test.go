package conformance

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// firstLine is what a program prints first: the addresses that it knows the two hosts by.
var firstLine = regexp.MustCompile(`^self (\S+) (\S+) peer (\S+) (\S+)\n`)

// address matches an address with a port, as conformance.h prints it.
var address = regexp.MustCompile(`(\[[0-9a-f:.]+\]|\d+\.\d+\.\d+\.\d+):(\d+)`)

// aliases are the loopback addresses that boxer has for itself: no program should see
// one.
var aliases = netip.MustParsePrefix("127.64.0.0/10")

// normalise makes what a program prints independent of where it ran, and with which of
// its ports: P0 is the case's first.
func normalise(out string, first int) string {
	m := firstLine.FindStringSubmatch(out)
	if m == nil {
		return out
	}
	words := strings.NewReplacer(m[1], "SELF", m[2], "SELF6", m[3], "PEER", m[4], "PEER6",
		"127.0.0.1", "LOCAL", "0.0.0.0", "ANY")
	return address.ReplaceAllStringFunc(out[len(m[0]):], func(text string) string {
		part := address.FindStringSubmatch(text)
		p, err := strconv.Atoi(part[2])
		switch {
		case err != nil:
		case p >= first && p < first+portsProgram:
			part[2] = fmt.Sprintf("P%d", (p-first)%portsCase)
		case p >= 1024:
			part[2] = "EPHEMERAL"
		}
		if a, err := netip.ParseAddr(part[1]); err == nil && aliases.Contains(a) {
			part[1] = "ALIAS"
		}
		return words.Replace(part[1]) + ":" + part[2]
	})
}

// split returns the lines of each case.
func split(out string) map[string][]string {
	cases := map[string][]string{}
	name := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "== "); ok {
			name = rest
			cases[name] = []string{}
			continue
		}
		cases[name] = append(cases[name], line)
	}
	return cases
}

// excuse replaces, in boxer's lines of a case, the known differences by what Linux does.
// It returns those that it has not met.
func excuse(name string, hosts int, interposer string, lines []string) (excused []string,
	missing []Place) {
	for _, d := range known {
		if d.Hosts != 0 && d.Hosts != hosts || d.Interposer != "" &&
			d.Interposer != interposer {
			continue
		}
		for _, p := range d.Places {
			if p.Case == name {
				missing = append(missing, p)
			}
		}
	}
	text := strings.Join(append(slices.Clone(lines), ""), "\n")
	done := 0 // what comes before is Linux's already
	for {
		first, at := -1, len(text)
		for i, p := range missing {
			if j := lineIndex(text[done:], p.Boxer); j >= 0 && done+j < at {
				first, at = i, done+j
			}
		}
		if first < 0 {
			return strings.Split(text, "\n"), missing
		}
		p := missing[first]
		text = text[:at] + p.Linux + text[at+len(p.Boxer):]
		done = at + len(p.Linux)
		missing = slices.Delete(missing, first, first+1)
	}
}

// lineIndex returns where whole lines are in a text that begins at a line's beginning, or
// -1.
func lineIndex(text, lines string) int {
	if strings.HasPrefix(text, lines) {
		return 0
	}
	if at := strings.Index(text, "\n"+lines); at >= 0 {
		return at + 1
	}
	return -1
}

// compare returns how two sequences of lines differ, in the manner of diff -u.
func compare(linux, boxer []string) string {
	var b strings.Builder
	common := longestCommon(linux, boxer)
	for len(linux) > 0 || len(boxer) > 0 {
		switch {
		case len(common) > 0 && len(linux) > 0 && len(boxer) > 0 &&
			linux[0] == common[0] && boxer[0] == common[0]:
			fmt.Fprintf(&b, "  %s\n", linux[0])
			linux, boxer, common = linux[1:], boxer[1:], common[1:]
		case len(linux) > 0 && (len(common) == 0 || linux[0] != common[0]):
			fmt.Fprintf(&b, "- %s\n", linux[0])
			linux = linux[1:]
		default:
			fmt.Fprintf(&b, "+ %s\n", boxer[0])
			boxer = boxer[1:]
		}
	}
	return b.String()
}

// longestCommon returns the longest common subsequence.
func longestCommon(a, b []string) []string {
	best := make([][]int, len(a)+1)
	for i := range best {
		best[i] = make([]int, len(b)+1)
	}
	for i, x := range slices.Backward(a) {
		for j, y := range slices.Backward(b) {
			if x == y {
				best[i][j] = best[i+1][j+1] + 1
			} else {
				best[i][j] = max(best[i+1][j], best[i][j+1])
			}
		}
	}
	var common []string
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			common = append(common, a[i])
			i, j = i+1, j+1
		case best[i+1][j] >= best[i][j+1]:
			i++
		default:
			j++
		}
	}
	return common
}

func TestNormalise(t *testing.T) {
	out := "self 10.111.0.2 fd6f::2 peer 10.111.0.1 fd6f::1\ngetsockname: 10.111.0.2:7013\ngetpeername: [::ffff:10.111.0.1]:20000\n" +
		"getsockname: 127.0.0.1:80 [::1]:5 0.0.0.0:0 127.65.1.2:7000 [fd6f::1]:7001\nconnect: 0\n"
	want := "getsockname: SELF:P3\ngetpeername: [::ffff:PEER]:EPHEMERAL\ngetsockname: LOCAL:80 [::1]:5 ANY:0 ALIAS:P0 [PEER6]:P1\nconnect: 0\n"
	if got := normalise(out, 7000); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestExcuse(t *testing.T) {
	defer func(saved []Difference) { known = saved }(known)
	known = []Difference{{Places: []Place{{"p/c/s", "b\n", "a\n"}, {"p/c/s", "", "x\n"},
		{"p/c/s", "z\n", "y\n"}, {"p/d/s", "b\n", "c\n"}}},
		{Hosts: 1, Places: []Place{{"p/c/s", "z\n", "c\n"}}}}
	got, missing := excuse("p/c/s", 2, "seccomp", []string{"x", "a", "aa", "a", "c"})
	if want := []string{"b", "aa", "a", "c", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(missing) != 1 || missing[0].Boxer != "y\n" {
		t.Errorf("missing are %q", missing)
	}
}

func TestCompare(t *testing.T) {
	got := compare([]string{"a", "b", "c"}, []string{"a", "x", "c", "d"})
	if want := "  a\n- b\n+ x\n  c\n+ d\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
