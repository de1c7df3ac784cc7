package conformance

import (
	"cmp"
	"context"
	"flag"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

var suites = flag.Bool("suites", false, "run the test suites of others whole, which takes minutes")

// suitePatience bounds one run of a suite.
const suitePatience = 5 * time.Minute

// The verdicts on a test. One that was not run has none.
const (
	passed  = "PASS"
	failed  = "FAIL"
	skipped = "SKIP"
)

// A suite is somebody else's tests.
type suite struct {
	name string // what its tests have before their names in the table of excused tests

	argv []string // runs it; {out} is a file that the run may write
	dir  string   // where it runs
	copy bool     // each run has a copy of dir
	env  []string
	// within bounds a run; 0: suitePatience
	within time.Duration

	// verdicts reads what a run said, and wrote to its file.
	verdicts func(said, written []byte) (map[string]string, error)
	// atLeast is how many tests pass bare at the least, or the suite has not run.
	atLeast int
}

// judge runs the suite bare and under boxer: what passes there must pass here, but for
// the excused.
func (s suite) judge(t *testing.T, bare, boxed *world) {
	t.Helper()
	var linux, got map[string]string
	var both sync.WaitGroup
	both.Go(func() { linux = s.run(t, bare, "") })
	both.Go(func() { got = s.run(t, boxed, "") })
	both.Wait()
	s.compare(t, linux, got, "")
}

// judgeUnder is judge with each of several interposers. No two runs are at the same time:
// libuv's tests, for one, have sockets of fixed names in /tmp.
func (s suite) judgeUnder(t *testing.T, bare, boxed *world, interposers ...string) {
	t.Helper()
	linux := s.run(t, bare, "")
	for _, how := range interposers {
		s.compare(t, linux, s.run(t, boxed, how), how)
	}
}

// compare compares the verdicts of a run under boxer with those of a bare one.
func (s suite) compare(t *testing.T, linux, got map[string]string, interposer string) {
	t.Helper()
	count := 0
	for _, test := range slices.Sorted(maps.Keys(linux)) {
		if linux[test] != passed {
			continue
		}
		count++
		verdict := got[test]
		if verdict == "" {
			verdict = "not run"
		}
		why := excuses[s.name+"."+test]
		switch {
		case verdict == passed && why != "":
			t.Errorf("%s passes under boxer (%s): take it out of the excused tests", test,
				interposer)
		case verdict != passed && why == "":
			t.Errorf("%s passes bare; under boxer (%s): %s", test, interposer, verdict)
		}
	}
	t.Logf("%s %s: %d tests pass bare", s.name, interposer, count)
	if count < s.atLeast {
		t.Errorf("only %d tests pass bare, want %d: the suite has not run", count,
			s.atLeast)
	}
}

// run runs the suite on the server's host of a world and returns each test's verdict.
func (s suite) run(t *testing.T, w *world, interposer string) map[string]string {
	within := cmp.Or(s.within, suitePatience)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	file, err := os.CreateTemp(built, "verdicts-")
	if err != nil {
		t.Error(err)
		return nil
	}
	defer file.Close()
	argv := slices.Clone(s.argv)
	for i, arg := range argv {
		if arg == "{out}" {
			argv[i] = file.Name()
		}
	}
	if w.url != "" {
		run := []string{boxer, "run", "--name", serverName}
		if interposer != "" {
			run = append(run, "--interposer", interposer)
		}
		argv = slices.Concat(run, []string{"--"}, argv)
	}
	cmd := w.hosts[serverName].Command(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.dir
	if s.copy {
		cmd.Dir = t.TempDir()
		if err := os.CopyFS(cmd.Dir, os.DirFS(s.dir)); err != nil {
			t.Error(err)
			return nil
		}
	}
	cmd.Env = append(append(os.Environ(), s.env...), "BOXER_JOIN="+w.url)
	cmd.WaitDelay = 10 * time.Second
	began := time.Now()
	said, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("%s %s: not done in %v", w.name, s.name, within)
	}
	written, readErr := os.ReadFile(file.Name())
	verdicts, parseErr := s.verdicts(said, written)
	if readErr != nil || parseErr != nil {
		t.Errorf("%s %s: %v %v", w.name, s.name, readErr, parseErr)
	}
	t.Logf("%s %s %s: %d verdicts in %v, %v", w.name, interposer, s.name, len(verdicts),
		time.Since(began).Round(time.Second), err)
	if *show || len(verdicts) == 0 {
		t.Logf("%s", said)
	}
	return verdicts
}
