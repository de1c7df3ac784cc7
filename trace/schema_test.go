package trace

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tests compare with")

// TestDocument holds the tables of docs/trace.md to the code.
func TestDocument(t *testing.T) {
	const file, mark = "../docs/trace.md", "`type`, a string, is in each line.\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, got, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has no line %q", file, mark)
	}
	var want strings.Builder
	for _, doc := range Describe() {
		about := strings.ReplaceAll(doc.About, ". ", ".\n") // a line for each sentence
		fmt.Fprintf(&want, "\n### %s\n\n%s\n\n| field | kind | meaning |\n|---|---|---|\n",
			doc.Type, about)
		for _, f := range doc.Fields {
			fmt.Fprintf(&want, "| `%s` | %s | %s |\n", f.Name, f.Kind, f.About)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+mark+want.String()),
			0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want.String() {
		t.Errorf("%s is not what the code says: run go test ./trace -run TestDocument -update", file)
	}
}
