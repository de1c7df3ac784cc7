package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// outside is an environment in which nobody has set up this checkout.
func outside() []string {
	return append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "QUIC_GO=published")
}

// TestVersionOfQUIC has the patched program, which scripts/go builds, and the one that
// "go build" and "go install" build, say which they are.
func TestVersionOfQUIC(t *testing.T) {
	if testing.Short() {
		t.Skip("builds boxer once more")
	}
	published := filepath.Join(t.TempDir(), "boxer")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", published, ".")
	build.Env = outside()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for binary, want := range map[string]string{boxer: "patched",
		published: "unpatched"} {
		out, err := exec.Command(binary, "version").Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "boxer ") {
			t.Fatalf("boxer version: %q", out)
		}
		if f := strings.Fields(lines[1]); len(f) != 3 || f[0] != "quic-go" ||
			!strings.HasPrefix(f[1], "v0.") || f[2] != want {
			t.Errorf("boxer version: %q, want quic-go, its version, and %s", lines[1], want)
		}
	}
	// What the published one cannot do it says.
	out, err := exec.Command(published, "run", "--congestion-control", "bbr", "--",
		"true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "reno") {
		t.Errorf("bbr without patches: %v: %s", err, out)
	}
}

// TestImport builds a module of somebody else's that imports this one's packages.
func TestImport(t *testing.T) {
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sums, err := os.ReadFile(filepath.Join(checkout, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": "module example.org/m\ngo 1.26.0\nrequire github.com/boxer-sandbox/boxer v0.0.0\n" +
			"replace github.com/boxer-sandbox/boxer => " + checkout + "\n",
		"go.sum": string(sums),
		"main.go": `package main

import (
	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

func main() {
	println(transport.QUICVersion())
	_, _ = coordinator.ParseJoinURL("")
	_ = trace.Connecting
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command("go", "run", ".")
	run.Dir, run.Env = dir, outside()
	out, err := run.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "unpatched") {
		t.Errorf("go run: %v\n%s", err, out)
	}
}
