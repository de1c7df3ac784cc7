package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", "allow web tag:job to db:5432 dns:53/udp\n")
	bad := write("bad", "# no\nallow web to db\nallow all\ndeny x\n")
	for _, tc := range []struct {
		args      []string
		code      int
		out, errs string
	}{
		{[]string{good}, 0, good + ": 1 rules\n", ""},
		{[]string{good, "--from", "web", "--to", "db:5432"}, 0,
			"allowed: web to db:5432, by line 1\n", ""},
		{[]string{good, "--from", "x,tag:job", "--to", "dns:53/udp"}, 0, "allowed: ", ""},
		{[]string{good, "--from", "web", "--to", "db:5433"}, 1,
			"denied: web to db:5433, no line allows it\n", ""},
		{[]string{good, "--from", "x", "--to", "db:5432"}, 1, "denied: ", ""},
		{[]string{bad}, 125, "", bad + `:2: "db" has no ports; write db:PORTS`},
		{[]string{bad}, 125, "", bad + `:4: "deny" begins no rule`},
		{[]string{good, "--from", "web"}, 125, "", "--from and --to belong together"},
		{[]string{good, "--from", "web", "--to", "db"}, 125, "", "not NODE:PORT"},
		{[]string{good, "--from", "web", "--to", "db:1-2"}, 125, "", "want one port"},
		{[]string{good, "--from", "w_", "--to", "db:1"}, 125, "", `node "w_"`},
		{[]string{dir + "/none"}, 125, "", "no such file"},
		{nil, 125, "", "for example: boxer policy check"},
	} {
		r := finish(t, bare(append([]string{boxer, "policy", "check"}, tc.args...)...))
		if r.status != tc.code || !strings.HasPrefix(r.out, tc.out) ||
			!strings.Contains(r.err, tc.errs) {
			t.Errorf("%q: got %+v, want %+v", tc.args, r, tc)
		}
	}
	r := finish(t, bare(boxer, "policy", "example"))
	r = finish(t, bare(boxer, "policy", "check", write("example", r.out), "--from", "a",
		"--to", "b:1/udp"))
	if r.status != 0 {
		t.Errorf("the example denies: %+v", r)
	}
}
