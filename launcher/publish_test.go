package launcher

import (
	"strings"
	"testing"

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
	for _, in := range []string{"", ":", "80", "80:", ":80", "8080:0", "8080:65536", "8080:-1", "65536:80", "-1:80", "x:80", "8080:x",
		"::1:8080:80", "127.0.0.1:80", "127.0.0.1::80", "8080:80:", "8080:80/tcp", "8080: 80", "[::1:8080:80"} {
		got, err := ParsePublish(in)
		if err == nil {
			t.Errorf("%q is taken for %+v", in, got)
			continue
		}
		if !strings.Contains(err.Error(), "--publish") || !strings.Contains(err.Error(), "8080:80") {
			t.Errorf("%q: %v: it does not say what is wrong and what would be right", in, err)
		}
	}
}

// TestPolicy compiles the filter for the table of calls, which has to be all of it.
func TestPolicy(t *testing.T) {
	p := policy()
	if len(p) != len(syscalls.Table()) {
		t.Errorf("%d rules for %d calls", len(p), len(syscalls.Table()))
	}
	for i, e := range syscalls.Table() {
		if p[i].Nr != e.Nr || p[i].Errno != e.Fail || len(p[i].If) != len(e.When) {
			t.Errorf("%s: rule %+v", e.Name, p[i])
		}
	}
	prog, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	// seccomp(2) takes BPF_MAXINSNS instructions. Each is on the way of every call of the program.
	if len(prog) == 0 || len(prog) > 4096 {
		t.Errorf("%d instructions", len(prog))
	}
}
