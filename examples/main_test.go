package examples

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// long asks for more rounds of killing and replacing.
var long = flag.Bool("examples.long", false, "kill and replace more often")

// rounds returns how often a test kills a node and replaces it.
func rounds() int {
	if *long {
		return 5
	}
	return 1
}

func TestMain(m *testing.M) { natlab.Main(m) }

// findBoxer returns the path of the boxer binary: the one that BOXER names, or bin/boxer.
func findBoxer(t *testing.T) string {
	t.Helper()
	path := os.Getenv("BOXER")
	if path == "" {
		path = "../bin/boxer"
	}
	path = absolute(t, path)
	needFile(t, path, "run \"make build\", or name a boxer binary in BOXER")
	return path
}

// build builds a Go program of one of the examples, which are modules of their own, and
// returns its path. The package is named as go build has it, from the example's folder.
func build(t *testing.T, example, pkg, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	cmd := exec.Command(absolute(t, "../scripts/go"), "build", "-trimpath",
		"-buildvcs=false", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir = example
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, said)
	}
	return out
}

// absolute returns the absolute path of one that is relative to this folder.
func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// needFile skips the test, or with CI=true fails it, if there is no such file; the remedy
// says how to get it.
func needFile(t *testing.T, path, remedy string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		natlab.Skip(t, fmt.Sprintf("%v: %s", err, remedy))
	}
}
