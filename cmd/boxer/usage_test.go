package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestUsageErrors holds that each error about a command line says what is meant, perhaps,
// and has an example and the way to the help.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"staus":                  `unknown command "staus"; did you mean "boxer start" or "boxer status"?`,
		"nonsense":               `unknown command "nonsense"; for example: boxer run --name db -- postgres`,
		"run --naem x true":      "unknown flag: --naem; did you mean --name?; for example: boxer run --name db -- postgres -D data",
		"run --nonsense true":    "unknown flag: --nonsense; for example: boxer run ",
		"run --name":             "flag needs an argument: --name; for example: boxer run ",
		"status --jsn":           "did you mean --json?; for example: boxer status",
		"forward 80":             "accepts 2 arg(s), received 1; for example: boxer forward 5432 db:5432",
		"coordinator x":          "; for example: boxer coordinator ",
		"run":                    "no command given; for example: boxer run ",
		"trace":                  "no command given; for example: boxer trace ",
		"trace show":             "; for example: boxer trace show db.jsonl",
		"trace merge":            "; for example: boxer trace merge ",
		"version x":              "; for example: boxer version",
		"completion nonsense":    "",
		"coordinator --listn :1": "did you mean --listen?",
	} {
		r := finish(t, exec.Command(boxer, strings.Fields(line)...))
		if want == "" {
			continue
		}
		if r.status != 125 || !strings.HasPrefix(r.err, "boxer: ") ||
			!strings.Contains(r.err, want) || !strings.Contains(r.err, " --help'\n") {
			t.Errorf("boxer %s: status %d, %q; want %q", line, r.status, r.err, want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	a, b := finish(t, exec.Command(boxer, "--version")),
		finish(t, exec.Command(boxer, "version"))
	if a != b || a.status != 0 || !strings.HasPrefix(a.out, "boxer ") {
		t.Errorf("--version: %+v, version: %+v", a, b)
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"naem", "name", 1}, {"join", "jion", 1},
		{"status", "staus", 1}, {"kitten", "sitting", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q, %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

// TestCompletion asks for completions as the shells' scripts do.
func TestCompletion(t *testing.T) {
	t.Parallel()
	p := start(t, exec.Command(boxer, "run", "--name", "complete-me", "--", "sh", "-c",
		"echo ready; exec sleep 1000"))
	p.line()
	for _, tc := range []struct {
		args []string
		want []string // are among the answers
	}{
		{[]string{""}, []string{"run", "status", "completion"}},
		{[]string{"run", "--congestion-control", ""},
			[]string{"host", "bbr", "cubic", "reno"}},
		{[]string{"trace", "-e", ""}, []string{"network", "connections", "all", "connect"}},
		{[]string{"trace", "-e", "file,acc"}, []string{"file,accept4"}},
		{[]string{"trace", "-e", "!rec"}, []string{"!recvfrom"}},
		{[]string{"trace", "show", "--format", ""}, []string{"json", "pcapng", "text"}},
		{[]string{"run", "--trace-format", ""}, []string{"json"}},
		{[]string{"run", "--join", ""}, []string{"@"}},
		{[]string{"run", "--join", "@" + joinFile[:len(joinFile)-1]},
			[]string{"@" + joinFile}},
		{[]string{"run", "--wait-for", ""}, []string{"complete-me"}},
		{[]string{"status", "comp"}, []string{"complete-me"}},
		{[]string{"forward", "80", ""}, []string{"complete-me:"}},
		{[]string{"run", "unsha"}, []string{"unshare"}},
	} {
		r := finish(t, exec.Command(boxer, append([]string{"__complete"}, tc.args...)...))
		var got []string
		for line := range strings.Lines(r.out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, word)
		}
		for _, want := range tc.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q is not among %q", tc.args, want, got)
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := finish(t, exec.Command(boxer, "completion", shell)); r.status != 0 ||
			!strings.Contains(r.out, "__complete") {
			t.Errorf("%s: status %d, %q", shell, r.status, r.err)
		}
	}
}
