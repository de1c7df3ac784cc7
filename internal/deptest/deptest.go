// Package deptest keeps the imports between boxer's packages to those that the design
// allows.
//
// Its table lists, for each package, the packages of boxer that it may import. A test
// compares the table with the code. Whoever adds a package, or an import between
// packages, adds it to the table, and to the drawing in docs/design.md.
package deptest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// module is the path of boxer's module.
const module = "github.com/boxer-sandbox/boxer"

// table says what each package may import of boxer.
var table = map[string][]string{
	// syscalls: doctor prints its table
	"cmd/boxer": {"compose", "coordinator", "host", "host/control", "internal/linux", "internal/secrets",
		"lambda", "lambda/runtime",
		"launcher", "policy",
		"syscalls",
		"trace", "transport", "project"},
	"compose":     {"coordinator", "project"},
	"coordinator": {"policy", "transport", "transport/tunnel"},
	"conformance": {"internal/natlab", "internal/proctest"},
	"e2e": {"internal/lambdabox", "internal/natlab", "internal/proctest",
		"trace"},
	"examples":            {"internal/natlab", "internal/proctest"},
	"internal/check":      nil,
	"internal/doccheck":   nil,
	"internal/demo":       {"internal/natlab", "internal/proctest", "internal/tempdir"},
	"internal/demolambda": {"internal/lambdabox", "internal/natlab", "internal/proctest"},
	"internal/deptest":    nil,
	"internal/jail":       {"internal/linux"},
	"internal/joinbench":  {"coordinator", "transport"},
	"internal/kernels":    {"internal/tempdir"},
	"internal/lambdabox":  nil,
	"internal/layers":     nil,
	"internal/linux":      nil,
	"internal/natlab":     {"internal/tempdir"},
	"internal/proctest":   nil,
	"internal/streamtest": {"stream"},
	"internal/secrets":    nil,
	"internal/tempdir":    nil,
	"internal/vars":       nil,

	"internal/virtualtime": nil,

	"host":           nil,
	"host/control":   {"host", "internal/linux"},
	"lambda":         {"host", "lambda/files"},
	"lambda/files":   nil,
	"lambda/image":   {"host", "lambda/files"},
	"lambda/runtime": {"host"},
	"launcher": {"coordinator", "internal/linux", "policy", "resolver", "rewrite",
		"sandbox",
		"stream",
		"syscalls", "syscalls/strace", "trace", "transport", "transport/direct"},
	"policy":       nil,
	"project":      {"coordinator", "internal/linux", "internal/vars"},
	"resolver":     nil,
	"rewrite":      {"internal/linux", "rewrite/plan"},
	"rewrite/plan": nil,
	"sandbox":      {"internal/linux"},
	"stream":       nil,

	"syscalls": {"internal/linux", "stream", "syscalls/abi", "syscalls/netif",
		"syscalls/rtnetlink", "syscalls/sockdiag",
		"syscalls/landlock", "syscalls/strace"},
	"syscalls/abi":       nil,
	"syscalls/netif":     {"syscalls/abi"},
	"syscalls/landlock":  {"internal/linux", "syscalls/abi"},
	"syscalls/rtnetlink": {"syscalls/netif"},
	"syscalls/sockdiag":  nil,
	"syscalls/strace":    {"syscalls/abi"},

	"trace":            nil,
	"transport":        {"stream", "transport/bbr"},
	"transport/tunnel": nil,
	"transport/bbr":    nil,
	"transport/direct": {"internal/linux"},
}

// forTests is what the tests of every package may import besides.
var forTests = []string{"internal/natlab", "internal/streamtest",
	"internal/virtualtime", "stream"}

// A Package is what "go list -json" says of one; see "go help list".
type Package struct {
	ImportPath   string
	Name         string
	Doc          string // the first sentence of the package comment
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// List returns the packages of the module in directory dir, those of testdata not among
// them.
func List(dir string) ([]Package, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off") // testdata has a module of its own
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w: %s", dir, err, &stderr)
	}
	var packages []Package
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p Package
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list in %s: %w", dir, err)
		}
		packages = append(packages, p)
	}
}

// Check returns what is wrong with the packages: imports that the table does not have,
// packages without a row, and package comments that do not begin with a sentence about
// the package.
func Check(packages []Package) []error {
	var wrong []error
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, ok := table[name]
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s has no row in the table of internal/deptest", name))
		}
		wrong = append(wrong, checkImports(name, "", p.Imports, allowed)...)
		inTests := slices.Concat(allowed, forTests, []string{name})
		wrong = append(wrong, checkImports(name, "a test of ",
			slices.Concat(p.TestImports, p.XTestImports), inTests)...)
		if err := checkComment(p); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	return wrong
}

// checkImports returns an error for each import of boxer that is not allowed; kind is
// said before the name.
func checkImports(name, kind string, imports, allowed []string) []error {
	var wrong []error
	for _, imported := range imports {
		to, ours := strings.CutPrefix(imported, module+"/")
		if ours && !slices.Contains(allowed, to) {
			wrong = append(wrong, fmt.Errorf("%s%s imports %s, which its row in the table of internal/deptest does not have", kind, name, to))
		}
	}
	return wrong
}

// checkComment returns an error unless the package comment begins with one sentence, as
// go doc wants it.
func checkComment(p Package) error {
	want := "Package " + p.Name + " "
	if p.Name == "main" {
		want = "Command " + path.Base(p.ImportPath) + " "
	}
	if !strings.HasPrefix(p.Doc, want) || !strings.HasSuffix(p.Doc, ".") {
		return fmt.Errorf("the package comment is %q: want a first sentence that begins with %q", p.Doc, want)
	}
	return nil
}
