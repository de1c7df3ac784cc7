package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// events is what "go test -json" prints of two packages at once: one passes, one of the
// other's tests fails, and its last one takes the package with it.
const events = `{"Action":"start","Package":"github.com/boxer-sandbox/boxer/a"}
{"Action":"start","Package":"github.com/boxer-sandbox/boxer/b/c"}
{"Action":"run","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestOne"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"run","Package":"github.com/boxer-sandbox/boxer/b/c","Test":"TestBad"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/b/c","Test":"TestBad","Output":"    x_test.go:1: wrong\n"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestOne/sub","Output":"    --- PASS: TestOne/sub (0.00s)\n"}
{"Action":"pass","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestOne/sub"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestOne","Output":"--- PASS: TestOne (0.00s)\n"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/b/c","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"pass","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestOne"}
{"Action":"fail","Package":"github.com/boxer-sandbox/boxer/b/c","Test":"TestBad"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestNot","Output":"    y_test.go:2: no root here\n"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestNot","Output":"--- SKIP: TestNot (0.00s)\n"}
{"Action":"skip","Package":"github.com/boxer-sandbox/boxer/a","Test":"TestNot"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/a","Output":"ok  \tgithub.com/boxer-sandbox/boxer/a\t0.1s\n"}
{"Action":"pass","Package":"github.com/boxer-sandbox/boxer/a","Elapsed":0.1}
a line that is no event
{"Action":"run","Package":"github.com/boxer-sandbox/boxer/b/c","Test":"TestPanics"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/b/c","Test":"TestPanics","Output":"panic: oops\n"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/b/c","Output":"FAIL\tgithub.com/boxer-sandbox/boxer/b/c\t0.1s\n"}
{"Action":"fail","Package":"github.com/boxer-sandbox/boxer/b/c","Elapsed":0.1}
{"ImportPath":"github.com/boxer-sandbox/boxer/d [x.test]","Action":"build-output","Output":"d/d.go:1: syntax error\n"}
{"Action":"output","Package":"github.com/boxer-sandbox/boxer/d","Output":"FAIL\tgithub.com/boxer-sandbox/boxer/d [build failed]\n"}
{"Action":"fail","Package":"github.com/boxer-sandbox/boxer/d","Elapsed":0}
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out}
	s := step{name: "packages", race: true}
	r.begin(s)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	r.stepEnded(s, errors.New("exit status 1"), time.Minute)
	r.summary()
	if !r.failed() {
		t.Error("it is not a failure")
	}
	for _, want := range []string{
		// The lines of a test stand together, in the form that counters of them know.
		"    --- PASS: TestOne/sub (0.00s)\n--- PASS: TestOne (0.00s)\n",
		"    x_test.go:1: wrong\n--- FAIL: TestBad (0.00s)\n",
		"ok  \tgithub.com/boxer-sandbox/boxer/a\t0.1s\n",
		"a line that is no event\n", "panic: oops\n", "d/d.go:1: syntax error\n",
		"check: skipped: a TestNot: y_test.go:2: no root here\n",
		"check: FAILED packages   1m0s\n",
		"check: FAILED b/c TestBad; alone: scripts/go test -count=1 -race -v -run '^TestBad$' ./b/c\n",
		"check: FAILED b/c TestPanics; alone: scripts/go test -count=1 -race -v -run '^TestPanics$' ./b/c\n",
		"check: FAILED d ; alone: scripts/go test -count=1 -race ./d\n",
		"check: 1 tests passed, 3 failed, 1 skipped\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not print %q", want)
		}
	}
	if strings.Contains(out.String(), "=== RUN") {
		t.Error("it prints that tests run")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestAlone(t *testing.T) {
	for want, f := range map[string]failure{
		"cd bench && ../scripts/go test -count=1 -v -run '^TestX$' ./": {module +
			"/bench", "TestX"},
		"cd bench && ../scripts/go test -count=1 -v -run '^TestX$' ./over": {module +
			"/bench/over", "TestX"},
	} {
		if got := f.alone(step{dir: "bench"}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	all := steps(nil)
	if got, err := choose(all, ""); len(got) != len(all) || err != nil {
		t.Errorf("%d steps, %v", len(got), err)
	}
	if got, err := choose(all, "e2e,lint"); err != nil || len(got) != 2 ||
		got[0].name != "e2e" || got[1].name != "lint" {
		t.Errorf("%v, %v", names(got), err)
	}
	if _, err := choose(all, "nothing"); err == nil ||
		!strings.Contains(err.Error(), "lint, packages") {
		t.Errorf("%v", err)
	}
}

// TestGoesOn runs tests of a module that does not build in one package and fails in
// another: all that can run is run.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module example.org/m\n",
		"scripts/go":       "#!/bin/sh\nexec go \"$@\"\n",
		"bad/bad_test.go":  "package bad\nvar x int = \"\"\n",
		"fail/f_test.go":   "package fail\nimport \"testing\"\nfunc TestFail(t *testing.T) { t.Error(\"as it must\") }\n",
		"good/g_test.go":   "package good\nimport \"testing\"\nfunc TestGood(t *testing.T) {}\n",
		"left/out_test.go": "package left\nimport \"testing\"\nfunc TestLeftOut(t *testing.T) {}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOWORK", "off")
	var out strings.Builder
	r := &report{out: &out}
	s := step{name: "packages", tests: []string{"-timeout=1m"}, without: "/left"}
	r.begin(s)
	err := s.run(context.Background(), r)
	r.stepEnded(s, err, time.Second)
	r.summary()
	if err == nil || r.passed != 1 || strings.Contains(out.String(), "TestLeftOut") ||
		!strings.Contains(out.String(), "as it must") ||
		!strings.Contains(out.String(), "2 failed") {
		t.Errorf("%v, %d passed:\n%s", err, r.passed, out.String())
	}
}
