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

// A goSuite is the tests of a package.
type goSuite struct {
	pkg string
	// module is the directory of the module that knows the package; none is needed for
	// the standard library.
	module  string
	short   bool // quick, and in make test, too
	atLeast int
	skip    string // a pattern of tests not to run, see go help testflag
}

var goSuites = []goSuite{
	{pkg: "net", atLeast: 250},
	{pkg: "net/http", atLeast: 1200},
	{pkg: "golang.org/x/net/ipv4", module: "modules", short: true, atLeast: 15},
	{pkg: "golang.org/x/net/ipv6", module: "modules", short: true, atLeast: 10},
	{pkg: "golang.org/x/net/icmp", module: "modules", short: true, atLeast: 10},
	{pkg: "golang.org/x/net/nettest", module: "modules", short: true, atLeast: 30},
	{pkg: "golang.org/x/net/websocket", module: "modules", short: true, atLeast: 30},
	{pkg: "github.com/gorilla/websocket", module: "modules", short: true, atLeast: 50},
	{pkg: "github.com/miekg/dns", module: "modules", short: true, atLeast: 400},
	{pkg: "google.golang.org/grpc/internal/transport", module: "modules", atLeast: 150},
	{pkg: "github.com/quic-go/quic-go/integrationtests/self", module: "modules",
		atLeast: 300},
}

// TestGo runs tests of Go programs: those of the installed toolchain's net and net/http,
// and those of modules.
func TestGo(t *testing.T) {
	natlab.NeedCommands(t, "go")
	bare, boxed := bareWorld(t), boxedWorld(t)
	for _, g := range goSuites {
		t.Run(strings.ReplaceAll(g.pkg, "/", "_"), func(t *testing.T) {
			if !g.short && !*suites {
				t.Skip("takes minutes: -suites, or make conformance")
			}
			g.build(t).judge(t, bare, boxed)
		})
	}
}

// build compiles the tests, which run where their source is.
func (g goSuite) build(t *testing.T) suite {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "suite.test")
	g.command(t, "test", "-c", "-o", binary, g.pkg)
	argv := []string{binary, "-test.short", "-test.v", "-test.timeout",
		fmt.Sprint(suitePatience - 30*time.Second)}
	if g.skip != "" {
		argv = append(argv, "-test.skip", g.skip)
	}
	return suite{
		name: g.pkg, dir: strings.TrimSpace(g.command(t, "list", "-f", "{{.Dir}}",
			g.pkg)), argv: argv,
		verdicts: goVerdicts, atLeast: g.atLeast,
	}
}

// command runs the go command where the package is known, and returns what it prints.
func (g goSuite) command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = g.module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, &said)
	}
	return string(out)
}
