package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// debianSources is where scripts/suites puts the sources of Debian packages.
const debianSources = "../.tools/suites"

// A debianSuite is the tests in the source of a Debian package.
type debianSuite struct {
	pkg     string
	command string // that runs them, or that the tests are of
	argv    []string
	env     []string

	// If globs is not empty, each file that one of them matches is a test of its own,
	// which argv runs, from the directory in.
	globs []string
	in    string

	verdicts func(said, written []byte) (map[string]string, error)
	atLeast  int
	within   time.Duration
}

var debianSuites = []debianSuite{
	{pkg: "libuv1", command: "sh", argv: []string{"sh", "-c", "exec ./run-tests"},
		env: []string{"UV_RUN_AS_ROOT=1"}, verdicts: tapVerdicts, atLeast: 390},
	{pkg: "perl", command: "perl", argv: []string{"perl"}, atLeast: 50,
		globs: []string{"cpan/Socket/t/*.t", "cpan/IO-Socket-IP/t/*.t",
			"cpan/libnet/t/*.t", "dist/IO/t/cachepropagate*.t", "dist/IO/t/io_multihomed.t",
			"dist/IO/t/io_poll.t", "dist/IO/t/io_sel.t", "dist/IO/t/io_sock*.t",
			"dist/IO/t/io_udp.t", "dist/IO/t/io_unix.t"}, verdicts: fileVerdicts},
	{pkg: "ruby3.1", command: "ruby3.1", verdicts: rubyVerdicts, atLeast: 150,
		argv: []string{"ruby3.1", "-W0", "-Itool/lib", "-Itest/lib", "-Itest",
			"-rtest/unit", "-e",
			`Dir["test/socket/test_*.rb"].sort.each { |f| require "./#{f}" }`, "--",
			"-v"}},
	{pkg: "tcl8.6", command: "tclsh", verdicts: tclVerdicts, atLeast: 1000, in: "tests",
		argv: []string{"sh", "-c", `for t in socket http http11 httpPipeline httpold ` +
			`chanio io ioCmd; do tclsh $t.test -verbose pass -tmpdir "$PWD"; done`},
		env: []string{"LANG=C.UTF-8"}},
	{pkg: "nodejs", command: "node", argv: []string{"node"}, atLeast: 200,
		globs: []string{"test/parallel/test-net-*.js", "test/parallel/test-dgram-*.js",
			"test/parallel/test-dns*.js"}, verdicts: fileVerdicts,
		within: 25 * time.Minute},
}

// TestDebian runs tests of Debian packages, bare, with a filter and rewritten.
func TestDebian(t *testing.T) {
	if !*suites {
		t.Skip("takes minutes: -suites, or make conformance")
	}
	bare, boxed := bareWorld(t), boxedWorld(t)
	for _, d := range debianSuites {
		t.Run(d.pkg, func(t *testing.T) {
			natlab.NeedCommands(t, "python3", d.command)
			d.suite(t).judgeUnder(t, bare, boxed, "seccomp", "rewrite")
		})
	}
}

// suite returns the suite, which runs where a copy of the source is.
func (d debianSuite) suite(t *testing.T) suite {
	t.Helper()
	dir := filepath.Join(debianSources, d.pkg)
	if _, err := os.Stat(dir); err != nil {
		natlab.Skip(t, err.Error()+": run make suites")
	}
	s := suite{name: d.pkg, dir: filepath.Join(dir, d.in), copy: true, argv: d.argv,
		env: d.env, verdicts: d.verdicts, atLeast: d.atLeast, within: d.within}
	if len(d.globs) == 0 {
		return s
	}
	runner, err := filepath.Abs("runfiles.py")
	if err != nil {
		t.Fatal(err)
	}
	const jobs, seconds = 4, 60
	s.argv = []string{"/usr/bin/python3", runner, fmt.Sprint(jobs), fmt.Sprint(seconds)}
	for _, glob := range d.globs {
		files, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil || len(files) == 0 {
			t.Fatal("no tests", glob, err)
		}
		for _, f := range files {
			if only := os.Getenv("CASE"); only != "" && !strings.Contains(f, only) {
				continue
			}
			s.argv = append(s.argv, strings.TrimPrefix(f, dir+"/"))
		}
	}
	s.argv = slices.Concat(s.argv, []string{"--"}, d.argv)
	return s
}

// matched returns a verdict for each match of a pattern, whose groups are the name and,
// first, one of the words of a table.
func matched(said []byte, pattern *regexp.Regexp, words map[string]string) map[string]string {
	verdicts := map[string]string{}
	for _, m := range pattern.FindAllSubmatch(said, -1) {
		name := filepath.ToSlash(string(m[2]))
		if old := verdicts[name]; old != failed {
			verdicts[name] = words[string(m[1])]
		}
	}
	return verdicts
}

var (
	tapResult   = regexp.MustCompile(`(?m)^(ok|not ok) \d+ - (\S+)$`)
	fileResult  = regexp.MustCompile(`(?m)^(PASS|FAIL) (\S+)$`)
	rubyResult  = regexp.MustCompile(`(?m)^\[ *\d+/\d+\] (\S+#\S+) =`)
	rubyFailure = regexp.MustCompile(`(?m)^ +\d+\) (?:Failure|Error):\n(\S+#\w+[?!=]?)`)
)

// tapVerdicts reads the Test Anything Protocol. What is skipped has a comment.
func tapVerdicts(said, _ []byte) (map[string]string, error) {
	return matched(said, tapResult, map[string]string{"ok": passed, "not ok": failed}), nil
}

// fileVerdicts reads what runfiles.py prints.
func fileVerdicts(said, _ []byte) (map[string]string, error) {
	return matched(said, fileResult, map[string]string{"PASS": passed, "FAIL": failed}), nil
}

// tclVerdicts reads what tcltest(n) prints.
func tclVerdicts(said, _ []byte) (map[string]string, error) {
	verdicts := map[string]string{}
	for line := range strings.Lines(string(said)) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "++++" && words[0] != "====" {
			continue
		}
		switch words[len(words)-1] {
		case "PASSED":
			verdicts[words[1]] = passed
		case "FAILED":
			verdicts[words[1]] = failed
		}
	}
	return verdicts, nil
}

// rubyVerdicts reads what test/unit of Ruby's own tests prints with -v.
func rubyVerdicts(said, _ []byte) (map[string]string, error) {
	verdicts := map[string]string{}
	for _, m := range rubyResult.FindAllSubmatch(said, -1) {
		verdicts[string(m[1])] = passed
	}
	for _, m := range rubyFailure.FindAllSubmatch(said, -1) {
		verdicts[string(m[1])] = failed
	}
	return verdicts, nil
}
