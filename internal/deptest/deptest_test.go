package deptest

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestImports(t *testing.T) {
	// What go list reads, the test cache does not see (go help test): but it does see
	// what is read here.
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".git") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	packages, err := List("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(packages, func(p Package) bool { return p.ImportPath == module+"/internal/deptest" }) {
		t.Errorf("this package is not among the %d that were found", len(packages))
	}
	for _, err := range Check(packages) {
		t.Error(err)
	}
}

// TestCheckFinds checks a module that does everything wrong.
func TestCheckFinds(t *testing.T) {
	packages, err := List("testdata/wrong")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, err := range Check(packages) {
		got = append(got, err.Error())
	}
	want := []string{
		"misc has no row in the table of internal/deptest",
		`misc: the package comment is "": want a first sentence that begins with "Package misc "`,
		"sandbox imports transport, which its row in the table of internal/deptest does not have",
		"a test of transport imports sandbox, which its row in the table of internal/deptest does not have",
		`transport: the package comment is "Packets are carried here.": want a first sentence that begins with "Package transport "`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTableHasNoCycle(t *testing.T) {
	var visit func(name string, above []string)
	visit = func(name string, above []string) {
		if slices.Contains(above, name) {
			t.Fatalf("%q import each other", append(above, name))
		}
		for _, to := range table[name] {
			if _, ok := table[to]; !ok {
				t.Errorf("the row of %s has %s, which has no row", name, to)
			}
			visit(to, append(above[:len(above):len(above)], name))
		}
	}
	for name := range table {
		visit(name, nil)
	}
}
