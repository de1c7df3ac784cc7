package main

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// quiet is how long nothing is printed until it is said what is under way.
const quiet = 30 * time.Second

// module is the path of boxer's module.
const module = "github.com/boxer-sandbox/boxer"

// A report collects the results of the steps.
type report struct {
	out io.Writer

	mu      sync.Mutex
	wrote   time.Time // when something was printed last
	began   time.Time // the step
	total   int       // packages of the step, 0 if that is not known
	done    int
	pkgs    map[string]*pkg // of the step
	passed  int             // tests, of all steps
	skipped []skip
	results []result
}

// A pkg is a package under test.
type pkg struct {
	running    map[string]*test
	output     strings.Builder // its own
	failures   []string        // names of top-level tests
	ended, bad bool
	took       time.Duration
}

// A test is a top-level test that has begun, with its subtests.
type test struct {
	began  time.Time
	output strings.Builder
}

type skip struct{ pkg, test, why string }

// A result is the outcome of a step.
type result struct {
	step  step
	err   error
	took  time.Duration
	tests []failure
}

// A failure is a test that failed, or, without a name, a package that failed as a whole.
type failure struct{ pkg, test string }

func (r *report) begin(step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pkgs, r.total, r.done, r.began = make(map[string]*pkg), 0, 0, time.Now()
}

func (r *report) of(name string) *pkg {
	p := r.pkgs[name]
	if p == nil {
		p = &pkg{running: make(map[string]*test)}
		r.pkgs[name] = p
	}
	return p
}

func (p *pkg) test(name string) *test {
	name, _, _ = strings.Cut(name, "/")
	t := p.running[name]
	if t == nil {
		t = &test{began: time.Now()}
		if p.running == nil {
			p.running = make(map[string]*test)
		}
		p.running[name] = t
	}
	return t
}

func (r *report) print(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(s)
}

func (r *report) write(s string) {
	if s != "" {
		r.wrote = time.Now()
		io.WriteString(r.out, s)
	}
}

// progressEvery prints the progress whenever nothing was printed for that long, until
// stop.
func (r *report) progressEvery(every time.Duration) (stop func()) {
	t := time.NewTicker(every / 3)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-t.C:
				r.mu.Lock()
				if time.Since(r.wrote) >= every {
					r.write("check: " + r.progressLocked() + "\n")
				}
				r.mu.Unlock()
			case <-end:
				return
			}
		}
	}()
	return func() {
		t.Stop()
		close(end)
		<-ended
	}
}

// progressLocked describes what is done and what is running.
func (r *report) progressLocked() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: ", time.Since(r.began).Round(time.Second))
	if r.total > 0 {
		fmt.Fprintf(&b, "%d of %d packages done", r.done, r.total)
	} else {
		fmt.Fprintf(&b, "%d packages done", r.done)
	}
	fmt.Fprintf(&b, ", %d tests passed", r.passed)
	var under []string
	for _, name := range slices.Sorted(maps.Keys(r.pkgs)) {
		for _, test := range slices.Sorted(maps.Keys(r.pkgs[name].running)) {
			under = append(under, fmt.Sprintf("%s %s (%v)", short(name), test,
				time.Since(r.pkgs[name].running[test].began).Round(time.Second)))
		}
	}
	if len(r.pkgs) == 0 {
		under = []string{"building"}
	}
	if n := len(under); n > 3 {
		under = append(under[:3], fmt.Sprintf("and %d more", n-3))
	}
	if len(under) > 0 {
		fmt.Fprintf(&b, "; running %s", strings.Join(under, ", "))
	}
	return b.String()
}

// short is a package's path within the module.
func short(p string) string { return strings.TrimPrefix(strings.TrimPrefix(p, module), "/") }

func (r *report) stepEnded(s step, err error, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := result{step: s, err: err, took: took}
	for _, name := range slices.Sorted(maps.Keys(r.pkgs)) {
		p := r.pkgs[name]
		for _, t := range p.failures {
			res.tests = append(res.tests, failure{name, t})
		}
		if len(p.failures) == 0 && (p.bad || !p.ended) {
			res.tests = append(res.tests, failure{name, ""})
		}
	}
	r.results = append(r.results, res)
}

func (r *report) failed() bool {
	return slices.ContainsFunc(r.results, func(res result) bool { return res.err != nil })
}

// alone is the command that runs a failed test alone.
func (f failure) alone(s step) string {
	dir := "./" + short(f.pkg)
	cmd := "scripts/go test -count=1"
	if s.dir != "" {
		cmd = "cd " + s.dir + " && ../scripts/go test -count=1"
		dir = "./" + strings.TrimPrefix(short(f.pkg), s.dir)
		dir = "./" + strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(dir, "./")), "/")
	}
	cmd = strings.Join(append(slices.Clone(s.env), cmd), " ")
	if s.race {
		cmd += " -race"
	}
	if f.test != "" {
		cmd += " -v -run '^" + f.test + "$'"
	}
	return cmd + " " + dir
}

// summary prints the results of all steps.
func (r *report) summary() {
	var failures int
	fmt.Fprintln(r.out)
	for _, s := range r.skipped {
		fmt.Fprintf(r.out, "check: skipped: %s %s: %s\n", short(s.pkg), s.test, s.why)
	}
	for _, res := range r.results {
		verdict := "ok    "
		if res.err != nil {
			verdict = "FAILED"
		}
		fmt.Fprintf(r.out, "check: %s %-10s %v\n", verdict, res.step.name,
			res.took.Round(time.Second))
		failures += len(res.tests)
	}
	for _, res := range r.results {
		if res.err != nil && len(res.tests) == 0 {
			fmt.Fprintf(r.out, "check: FAILED %s: %v; alone: %s\n", res.step.name,
				res.err, res.step.alone)
		}
		for _, f := range res.tests {
			fmt.Fprintf(r.out, "check: FAILED %s %s; alone: %s\n", short(f.pkg), f.test,
				f.alone(res.step))
		}
	}
	fmt.Fprintf(r.out, "check: %d tests passed, %d failed, %d skipped\n", r.passed,
		failures, len(r.skipped))
}
