package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// result matches what a test that has ended prints with -test.v.
var result = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`)

// goVerdicts reads what a Go test prints.
func goVerdicts(said, _ []byte) (map[string]string, error) {
	verdicts := map[string]string{}
	for _, m := range result.FindAllSubmatch(said, -1) {
		verdicts[string(m[2])] = string(m[1])
	}
	return verdicts, nil
}

// TestGo runs the tests of net and net/http of the installed toolchain.
func TestGo(t *testing.T) {
	if !*suites {
		t.Skip("takes minutes: -suites, or make conformance")
	}
	natlab.NeedCommands(t, "go")
	bare, boxed := bareWorld(t), boxedWorld(t)
	for _, name := range []string{"net", "net/http"} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) { buildSuite(t, name).judge(t, bare, boxed) })
	}
}

// buildSuite compiles the tests of a package of the standard library, which run where its source is.
func buildSuite(t *testing.T, name string) suite {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal("go env:", err)
	}
	binary := filepath.Join(t.TempDir(), "suite.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c %s: %v\n%s", name, err, out)
	}
	return suite{
		name: name, dir: filepath.Join(strings.TrimSpace(string(out)), "src", name),
		argv:     []string{binary, "-test.short", "-test.v", "-test.timeout", fmt.Sprint(suitePatience - 30*time.Second)},
		verdicts: goVerdicts, atLeast: 100,
	}
}
