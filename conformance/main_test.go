package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

var (
	update = flag.Bool("update", false, "write the tables into docs/conformance.md")
	show   = flag.Bool("show", false, "log what the programs print")

	// boxer is the binary under test.
	boxer = os.Getenv("BOXER")

	// built is the directory for the programs.
	built string
)

func TestMain(m *testing.M) { natlab.Main(tests{m}) }

// tests are the package's tests with what they share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	flag.Parse()
	if boxer == "" {
		boxer = "../bin/boxer"
	}
	var err error
	if boxer, err = filepath.Abs(boxer); err == nil {
		built, err = os.MkdirTemp("", "boxer-conformance-")
	}
	if err == nil {
		err = os.Chmod(built, 0o755) // programs of other users run from here
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		return 1
	}
	defer os.RemoveAll(built)
	return m.M.Run()
}
