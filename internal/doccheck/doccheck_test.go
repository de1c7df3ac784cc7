package doccheck

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTree checks every Markdown file of the project.
func TestTree(t *testing.T) {
	const root = "../.."
	checked := 0
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if e.IsDir() && slices.Contains([]string{".git", ".tools", "bin", "dist"}, name) {
			return fs.SkipDir
		}
		if filepath.Ext(name) != ".md" || !e.Type().IsRegular() {
			return nil
		}
		checked++
		problems, err := Check(os.DirFS(root), filepath.ToSlash(name))
		for _, p := range problems {
			t.Error(p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 20 {
		t.Errorf("only %d Markdown files found", checked)
	}
}

func TestCheck(t *testing.T) {
	tree := fstest.MapFS{
		"README.md":      {Data: []byte("# Boxer\n\n## One connect(2), from psql\n")},
		"docs/other.md":  {Data: []byte("# A heading\n\n```\n# not a heading\n```\n")},
		"syscalls/a.go":  {},
		"docs/folder/x":  {},
		"docs/tables.md": {},
	}
	wide := strings.Repeat("x", 101)
	for _, tc := range []struct {
		name, text string
		want       []string // what each problem contains
	}{
		{"nothing", "", nil},
		{"width", wide + "\n" + wide[1:], []string{"docs/tables.md:1: 101 columns"}},
		{"width in characters", strings.Repeat("ü", 100), nil},
		{"width of code", "```\n" + wide + "\n```", []string{":2: 101 columns"}},
		{"width of a table", "| " + wide + " |", nil},
		{"width of a link", "[x](https://example.org/" + wide + ")", nil},
		{"link and text", "see [x](https://example.org/" + wide + ")", []string{"columns"}},
		{"links", "[a](other.md) [b](../README.md) [c](folder) [d](#here)\n# Here", nil},
		{"link to nothing", "[a](none.md)", []string{"link to none.md: no such file"}},
		{"links to nothing", "[a](none.md), [b](x.md#y)", []string{"none.md", "x.md#y"}},
		{"code", "```\n[a](none.md)\n```", nil},
		{"anchor", "[a](other.md#a-heading) [b](../README.md#one-connect2-from-psql)", nil},
		{"no anchor", "[a](other.md#not-a-heading)", []string{"no such heading"}},
		{"own anchor", "[a](#none)", []string{"link to #none: no such heading"}},
		{"file", "as in syscalls/a.go, `syscalls/a.go` and (syscalls/a.go)", nil},
		{"no file", "as in (syscalls/b.go)", []string{"syscalls/b.go: no such file"}},
		{"file of others", "kernel/seccomp.c, net/socket.c", nil},
		{"URL", "https://example.org/syscalls/b.go", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree["docs/tables.md"] = &fstest.MapFile{Data: []byte(tc.text)}
			got, err := Check(tree, "docs/tables.md")
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q in it", got[i], want)
				}
			}
		})
	}
	if _, err := Check(tree, "none.md"); err == nil {
		t.Error("a file that is not there has no problems")
	}
}
