package conformance

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

var suites = flag.Bool("suites", false, "run Go's own tests of net and net/http as well, which takes minutes")

// suitePatience bounds one run of one of Go's suites.
const suitePatience = 5 * time.Minute

// result matches what a test that has ended prints with -test.v.
var result = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+)`)

// TestGoSuites runs Go's own tests bare and under boxer: what passes there must pass here, but
// for the excused.
func TestGoSuites(t *testing.T) {
	if !*suites {
		t.Skip("takes minutes: -suites, or make conformance")
	}
	natlab.NeedCommands(t, "go")
	bare, boxed := bareWorld(t), boxedWorld(t)
	for _, name := range []string{"net", "net/http"} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			s := buildSuite(t, name)
			var linux, got map[string]string
			var both sync.WaitGroup
			both.Go(func() { linux = s.run(t, bare) })
			both.Go(func() { got = s.run(t, boxed) })
			both.Wait()
			passed := 0
			for _, test := range slices.Sorted(maps.Keys(linux)) {
				if linux[test] != "PASS" {
					continue
				}
				passed++
				verdict := got[test]
				if verdict == "" {
					verdict = "not run"
				}
				why := excuses[name+"."+test]
				switch {
				case verdict == "PASS" && why != "":
					t.Errorf("%s passes under boxer: take it out of the excused tests", test)
				case verdict != "PASS" && why == "":
					t.Errorf("%s passes bare; under boxer: %s", test, verdict)
				}
			}
			t.Logf("%s: %d tests pass bare", name, passed)
			if passed < 100 {
				t.Errorf("only %d tests pass bare: the suite has not run", passed)
			}
		})
	}
}

// A suite is a compiled test of the standard library and the directory that it runs in.
type suite struct{ name, binary, dir string }

func buildSuite(t *testing.T, name string) suite {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal("go env:", err)
	}
	s := suite{name, filepath.Join(t.TempDir(), "suite.test"), filepath.Join(strings.TrimSpace(string(out)), "src", name)}
	cmd := exec.Command("go", "test", "-c", "-o", s.binary, name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c %s: %v\n%s", name, err, out)
	}
	return s
}

// run runs the suite on the server's host of a world and returns each test's verdict.
func (s suite) run(t *testing.T, w *world) map[string]string {
	ctx, cancel := context.WithTimeout(t.Context(), suitePatience)
	defer cancel()
	argv := []string{s.binary, "-test.short", "-test.v", "-test.timeout", fmt.Sprint(suitePatience - 30*time.Second)}
	if w.url != "" {
		argv = append([]string{boxer, "run", "--name", serverName, "--"}, argv...)
	}
	cmd := w.hosts[serverName].Command(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+w.url)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	verdicts := map[string]string{}
	for _, m := range result.FindAllStringSubmatch(string(out), -1) {
		verdicts[m[2]] = m[1]
	}
	t.Logf("%s %s: %d verdicts, %v", w.name, s.name, len(verdicts), err)
	if *show {
		t.Logf("%s", out)
	}
	return verdicts
}
