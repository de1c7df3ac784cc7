package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestDoctorFile asks for the sites of this test, which has the calls of the Go runtime
// and of the C library.
func TestDoctorFile(t *testing.T) {
	var out bytes.Buffer
	if err := printSites(&out, "/proc/self/exe", false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ADDRESS", "(any)", " sites, ", " untouched"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	out.Reset()
	if err := printSites(&out, "/proc/self/exe", true); err != nil {
		t.Fatal(err)
	}
	var sites []struct{ Call, Way string }
	if err := json.Unmarshal(out.Bytes(), &sites); err != nil {
		t.Fatal(err)
	}
	rewritten := 0
	for _, s := range sites {
		if s.Way != "untouched" {
			rewritten++
		}
	}
	if rewritten == 0 {
		t.Errorf("no site is rewritten among %d", len(sites))
	}
	for _, path := range []string{"/etc/passwd", "/nonexistent", "/", "/dev/null"} {
		if err := printSites(&out, path, false); err == nil ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with the path", path, err)
		}
	}
}
