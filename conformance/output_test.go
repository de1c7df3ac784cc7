package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// firstLine is what a program prints first: the addresses that it knows the two hosts by.
var firstLine = regexp.MustCompile(`^self (\S+) peer (\S+)\n`)

// address matches an address with a port, as conformance.h prints it.
var address = regexp.MustCompile(`(\[[0-9a-f:.]+\]|\d+\.\d+\.\d+\.\d+):(\d+)`)

// firstEphemeral is where the ports begin that Linux chooses (ip_local_port_range, ip(7)).
const firstEphemeral = 32768

// normalise makes what a program prints independent of where it ran.
func normalise(out string) string {
	m := firstLine.FindStringSubmatch(out)
	if m == nil {
		return out
	}
	words := strings.NewReplacer(m[1], "SELF", m[2], "PEER", "127.0.0.1", "LOCAL", "0.0.0.0", "ANY")
	return address.ReplaceAllStringFunc(out[len(m[0]):], func(text string) string {
		part := address.FindStringSubmatch(text)
		if p, err := strconv.Atoi(part[2]); err == nil && p >= firstEphemeral {
			part[2] = "EPHEMERAL"
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

// excuse replaces, in boxer's lines of a case, the known differences by what Linux does. It returns which of them
// it has met.
func excuse(name string, lines []string) ([]string, map[int]bool) {
	if len(lines) == 0 {
		return lines, nil
	}
	text := strings.Join(lines, "\n") + "\n"
	met := map[int]bool{}
	for i, d := range known {
		if d.Case != name {
			continue
		}
		if at := lineIndex(text, d.Boxer); at >= 0 {
			text = text[:at] + d.Linux + text[at+len(d.Boxer):]
			met[i] = true
		}
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n"), met
}

// lineIndex returns where whole lines are in a text, or -1.
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
		case len(common) > 0 && len(linux) > 0 && len(boxer) > 0 && linux[0] == common[0] && boxer[0] == common[0]:
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
	out := "self 10.111.0.2 peer 10.111.0.1\ngetsockname: 10.111.0.2:7000\ngetpeername: [::ffff:10.111.0.1]:40000\n" +
		"getsockname: 127.0.0.1:80 [::1]:5 0.0.0.0:0\nconnect: 0\n"
	want := "getsockname: SELF:7000\ngetpeername: [::ffff:PEER]:EPHEMERAL\ngetsockname: LOCAL:80 [::1]:5 ANY:0\nconnect: 0\n"
	if got := normalise(out); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCompare(t *testing.T) {
	got := compare([]string{"a", "b", "c"}, []string{"a", "x", "c", "d"})
	if want := "  a\n- b\n+ x\n  c\n+ d\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
