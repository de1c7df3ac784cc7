package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// An event is a line of "go test -json": see "go doc test2json".
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// maxLine bounds one line of a test's output, in bytes.
const maxLine = 16 << 20

// read reads the events of one "go test" until its end. It prints lines that are not
// events.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			r.print(lines.Text() + "\n")
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

// take records an event, and prints the test or package that it completes.
func (r *report) take(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Action {
	case "build-output":
		r.write(e.Output)
		return
	case "build-fail":
		return // the package fails, too
	}
	p := r.of(e.Package)
	if e.Test == "" {
		r.takePackage(p, e)
		return
	}
	top, _, isSub := strings.Cut(e.Test, "/")
	t := p.test(top)
	switch e.Action {
	case "output":
		if !isNoise(e.Output) {
			t.output.WriteString(e.Output)
		}
	case "pass", "fail", "skip":
		r.count(p, e, isSub)
		if !isSub {
			r.write(t.output.String())
			delete(p.running, top)
		}
	}
}

// takePackage records an event of a package as a whole.
func (r *report) takePackage(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		// A test that has not ended ended the package: by a panic or a time limit.
		for name, t := range p.running {
			r.write(t.output.String())
			if e.Action == "fail" {
				p.failures = append(p.failures, name)
			}
		}
		r.write(p.output.String())
		p.ended, p.bad = true, e.Action == "fail"
		p.took = time.Duration(e.Elapsed * float64(time.Second))
		p.running, p.output = nil, strings.Builder{}
		if e.Action != "skip" { // no test files
			r.done++
			r.write(fmt.Sprintf("check: %s\n", r.progressLocked()))
		}
	}
}

// count records how a test ended.
func (r *report) count(p *pkg, e event, isSub bool) {
	switch {
	case e.Action == "fail" && !isSub:
		p.failures = append(p.failures, e.Test)
	case e.Action == "skip":
		r.skipped = append(r.skipped, skip{e.Package, e.Test,
			reason(p.test(e.Test).output.String())})
	case e.Action == "pass" && !isSub:
		r.passed++
	}
}

// isNoise reports whether a line only says that a test continues, which helps only where
// lines of several tests are mixed.
func isNoise(line string) bool {
	for _, word := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME "} {
		if strings.HasPrefix(line, word) {
			return true
		}
	}
	return false
}

// reason returns why a test was skipped: the last line of its output before the verdict.
func reason(output string) (why string) {
	for line := range strings.Lines(output) {
		if text := strings.TrimSpace(line); !strings.HasPrefix(text, "--- ") {
			why = text
		}
	}
	return why
}
