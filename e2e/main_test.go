package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

var (
	// long asks for the runs and sizes that the project promises, instead of shorter ones
	// that exercise the same.
	long = flag.Bool("e2e.long", false, "long runs and large files")

	// native runs every program bare: then the tests are about themselves.
	native = os.Getenv("BOXER_E2E_NATIVE") == "1"

	// boxer is the binary under test.
	boxer = os.Getenv("BOXER")

	// built is the directory for the programs of testdata.
	built string
)

func TestMain(m *testing.M) { natlab.Main(tests{m}) }

// tests are the package's tests with what they share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	// Programs inherit ignored signals, such as nohup(1)'s; what is caught here is back
	// to its default in what the tests start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	flag.Parse()
	if boxer == "" {
		boxer = "../bin/boxer"
	}
	var err error
	if boxer, err = filepath.Abs(boxer); err == nil && !native {
		_, err = os.Stat(boxer)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v: run \"make build\", or name a boxer binary in BOXER, or set BOXER_E2E_NATIVE=1\n", err)
		return 1
	}
	if built, err = os.MkdirTemp("", "boxer-e2e-"); err == nil {
		err = os.Chmod(built, 0o755) // programs of other users run from here
	}
	if err == nil && !native {
		err = moveBoxer()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(built)
	return m.M.Run()
}

// moveBoxer makes boxer a copy in built: a checkout in /root, which is root's alone, is
// nothing that other users can run.
func moveBoxer() error {
	b, err := os.ReadFile(boxer)
	if err != nil {
		return err
	}
	// Beside it is what has AWS's clients, and what reads compose files, if built.
	for _, with := range []string{"-aws", "-compose"} {
		if b, err := os.ReadFile(boxer + with); err == nil {
			if err := os.WriteFile(filepath.Join(built, "boxer"+with), b,
				0o755); err != nil {
				return err
			}
		}
	}
	boxer = filepath.Join(built, "boxer")
	return os.WriteFile(boxer, b, 0o755)
}

// choose returns one of two sizes of a test.
func choose[T any](short, longer T) T {
	if *long {
		return longer
	}
	return short
}

// needBoxer skips tests that are about what only boxer has.
func needBoxer(t *testing.T) {
	t.Helper()
	if native {
		t.Skip("is about boxer itself: nothing to run bare")
	}
}

// A recipe says how to build a program of testdata; {out} stands for the result.
type recipe struct{ tool, args string }

var recipes = map[string]recipe{
	"probe":            {"go", "build -o {out} ../testdata/probe"},
	"probe-cgo":        {"env", "CGO_ENABLED=1 go build -o {out} ../testdata/probe"},
	"gohttp":           {"go", "build -o {out} ../testdata/gohttp"},
	"quic":             {"go", "build -o {out} ../testdata/quic"},
	"tcp":              {"musl-gcc", "-static -O2 -o {out} ../testdata/c/tcp.c"},
	"prefork":          {"gcc", "-O2 -o {out} ../testdata/c/prefork.c"},
	"spawn":            {"gcc", "-O2 -o {out} ../testdata/c/spawn.c"},
	"threads":          {"gcc", "-O2 -pthread -o {out} ../testdata/c/threads.c"},
	"hammer":           {"gcc", "-O2 -pthread -o {out} ../testdata/c/hammer.c"},
	"interfaces":       {"musl-gcc", "-static -O2 -o {out} ../testdata/c/interfaces.c"},
	"Selector.class":   {"javac", "-J-XX:-UsePerfData -d {dir} ../testdata/java/Selector.java"},
	"Interfaces.class": {"javac", "-J-XX:-UsePerfData -d {dir} ../testdata/java/Interfaces.java"},
}

var (
	buildMu sync.Mutex
	paths   = map[string]string{} // of the programs that are built, guarded by buildMu
)

// program returns the path of a program of testdata, built when it is first asked for.
func program(t *testing.T, name string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if path, ok := paths[name]; ok {
		return path
	}
	r := recipes[name]
	natlab.NeedCommands(t, r.tool)
	path := filepath.Join(built, name)
	cmd := exec.Command(r.tool, fields(r.args, "{out}", path, "{dir}", built)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	paths[name] = path
	return path
}

// script returns the absolute path of a file in testdata that needs no building.
func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// fields splits text at white space after replacing pairs of old and new in each part.
func fields(text string, oldnew ...string) []string {
	parts := strings.Fields(text)
	for i := range parts {
		parts[i] = strings.NewReplacer(oldnew...).Replace(parts[i])
	}
	return parts
}
