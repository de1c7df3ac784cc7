package launcher

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

func TestParsePublish(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Publish
	}{
		{"8080:80", Publish{":8080", 80}},
		{"0:80", Publish{":0", 80}},
		{"127.0.0.1:8080:80", Publish{"127.0.0.1:8080", 80}},
		{"[::1]:8080:80", Publish{"[::1]:8080", 80}},
		{"localhost:65535:65535", Publish{"localhost:65535", 65535}},
		{":8080:80", Publish{":8080", 80}},
	} {
		if got, err := ParsePublish(tc.in); err != nil || got != tc.want {
			t.Errorf("%q: %+v, %v; want %+v", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{"", ":", "80", "80:", ":80", "8080:0", "8080:65536",
		"8080:-1", "65536:80", "-1:80", "x:80", "8080:x",
		"::1:8080:80", "127.0.0.1:80", "127.0.0.1::80", "8080:80:", "8080:80/tcp",
		"8080: 80", "[::1:8080:80"} {
		got, err := ParsePublish(in)
		if err == nil {
			t.Errorf("%q is taken for %+v", in, got)
			continue
		}
		if !strings.Contains(err.Error(), "--publish") ||
			!strings.Contains(err.Error(), "8080:80") {
			t.Errorf("%q: %v: it does not say what is wrong and what would be right", in, err)
		}
	}
}

// TestPolicy compiles the filter for the table of calls, which has to be all of it.
func TestPolicy(t *testing.T) {
	compat := len(syscalls.Table()) // where the rules for the 32-bit ABI begin
	rows := slices.Concat(syscalls.Table(), syscalls.CompatTable())
	p := policyOf(rows)
	if len(p) != len(rows) {
		t.Errorf("%d rules for %d calls", len(p), len(rows))
	}
	for i, e := range rows {
		if p[i].Nr != e.Nr || p[i].Compat != (i >= compat) || p[i].Errno != e.Fail ||
			len(p[i].If) != len(e.When) {
			t.Errorf("%s: rule %+v", e.Name, p[i])
		}
	}
	if own := policyOf(trapped(rows, namespaces{named: true, mounted: true})); len(own) >= len(p) ||
		slices.ContainsFunc(own, func(r sandbox.Rule) bool {
			return !r.Compat && (r.Nr == unix.SYS_UNAME || r.Nr == unix.SYS_SETHOSTNAME)
		}) {
		t.Errorf("with a host of its own, a program's uname is trapped")
	}
	prog, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	// seccomp(2) takes BPF_MAXINSNS instructions. Each is on the way of every call of the
	// program.
	if len(prog) == 0 || len(prog) > 4096 {
		t.Errorf("%d instructions", len(prog))
	}
}

// TestPolicyOfTraces compiles the filter that traps all calls, of both ABIs.
func TestPolicyOfTraces(t *testing.T) {
	all, err := ParseSelection("all")
	if err != nil {
		t.Fatal(err)
	}
	p := policyOf(tracedRows(all.Calls))
	prog, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if len(prog) > 4096 { // BPF_MAXINSNS
		t.Errorf("%d instructions", len(prog))
	}
	full := make(map[uintptr]bool)
	for _, r := range p {
		if r.Compat && (len(r.If) == 0 || r.If[0].Op == sandbox.MaskedEqual) {
			full[r.Nr] = true
		}
	}
	for name, nr := range callNumbers().Compat {
		if !full[nr] {
			t.Errorf("%s, 32-bit call %d, is not trapped", name, nr)
		}
	}
}
