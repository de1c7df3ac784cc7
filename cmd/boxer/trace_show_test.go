package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// traceTool runs boxer's command line in this process.
func traceTool(stdin string, args ...string) (stdout, stderr string, code int,
	err error) {
	var out, errs bytes.Buffer
	cmd := root(&code)
	cmd.SetArgs(append([]string{"trace"}, args...))
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err = cmd.Execute()
	return out.String(), errs.String(), code, err
}

const samples = "../../trace/testdata/"

func TestTraceShow(t *testing.T) {
	web, db := samples+"web.jsonl", samples+"db.jsonl"
	for _, tc := range []struct {
		args string
		want string // in stdout
	}{
		{"show -tt " + web, ":44:00.133456 connect(3, "},
		{"show --no-comments " + web, "[pid  4717] +++ killed by SIGTERM +++\n"},
		{"show -c " + web, "Slowest connects"},
		{"show --format json " + web, `{"type":"header","schema":"1.0",`},
		{"show --format perfetto " + web, `"traceEvents":[`},
		{"show --format pcapng " + web, "\x0a\x0d\x0d\x0a"},
		{"show --follow -T " + web, "<0.001700>"}, // which has an end
		{"merge " + web + " " + db, `"merged":true`},
		{"merge --format text " + db + " " + web, "[db pid   812]"},
		{"merge -c " + db + " " + web, "100.9ms"},
	} {
		out, errs, code, err := traceTool("", strings.Fields(tc.args)...)
		if err != nil || code != 0 || errs != "" || !strings.Contains(out, tc.want) {
			t.Errorf("%s: status %d, %v, stderr %q; no %q in\n%.500s", tc.args, code, err,
				errs, tc.want, out)
		}
	}
}

func TestTraceShowToFiles(t *testing.T) {
	dir := t.TempDir()
	file, page := filepath.Join(dir, "x.PCAPNG"), filepath.Join(dir, "x.html")
	out, _, _, err := traceTool("", "show", samples+"web.jsonl", "-o", file, "-c",
		"--html", page)
	if err != nil || !strings.Contains(out, "Peers") {
		t.Errorf("%v: %s", err, out)
	}
	for name, begin := range map[string]string{file: "\x0a\x0d\x0d\x0a",
		page: "<!DOCTYPE html>"} {
		text, err := os.ReadFile(name)
		info, err2 := os.Stat(name)
		if err != nil || err2 != nil || !strings.HasPrefix(string(text), begin) ||
			info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v, mode %v, begins with %.20q", name, err, err2,
				info.Mode(), text)
		}
	}
}

func TestTraceShowDamage(t *testing.T) {
	const header = `{"type":"header","schema":"1.0"}` + "\n"
	for _, tc := range []struct {
		in     string
		stderr string
		code   int
		err    string
	}{
		{in: header + "garbage\n", stderr: "boxer: -: line 2, byte 33: damaged: want '{'; skipped\n", code: 1},
		{in: header + strings.Repeat("x\n", 9), stderr: "boxer: skipped 4 more damaged lines",
			code: 1},
		{in: header + `{"type":"call","pi`, stderr: "the last line is cut short", code: 0},
		{in: `{"type":"header","schema":"9.1"}`, err: `-: read trace: line 1, byte 0: another version of the schema: the trace has "9.1", this boxer reads 1.x`},
		{in: "hello", err: "not a trace of boxer"},
		{in: "", code: 0},
	} {
		_, errs, code, err := traceTool(tc.in, "show", "-")
		if (err != nil) != (tc.err != "") || err != nil &&
			!strings.Contains(err.Error(), tc.err) ||
			!strings.Contains(errs, tc.stderr) || code != tc.code {
			t.Errorf("%.60q: status %d, error %v, stderr %q; want %d, %q, %q", tc.in,
				code, err, errs, tc.code, tc.err, tc.stderr)
		}
	}
	same := filepath.Join(t.TempDir(), "t.jsonl")
	if err := os.WriteFile(same, []byte(header), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"show", same, "-o", same},
		{"merge", same, "-o", same}, {"show", "nowhere"}, {"merge", same, "nowhere"},
		{"show", same, "--format", "x"}} {
		if _, _, _, err := traceTool("", args...); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	if text, _ := os.ReadFile(same); string(text) != header {
		t.Errorf("the trace was overwritten with %q", text)
	}
}

// TestFormatConflict has a file's name say one format, and --format another.
func TestFormatConflict(t *testing.T) {
	for _, tc := range []struct {
		file, format string
		conflict     bool
	}{
		{"x.pcapng", "html", true},
		{"x.html", "json", true},
		{"x.jsonl", "text", true},
		{"x.pcapng", "pcapng", false},
		{"x.PCAP", "pcapng", false},
		{"x.json", "perfetto", false},
		{"x.jsonl", "perfetto", true},
		{"x.txt", "summary", false},
		{"x.pcapng", "", false},
		{"x", "html", false},
		{"", "html", false},
	} {
		o := traceOutput{file: tc.file, format: tc.format}
		if err := o.conflict(); (err != nil) != tc.conflict {
			t.Errorf("-o %q --format %q: %v", tc.file, tc.format, err)
		}
	}
}
