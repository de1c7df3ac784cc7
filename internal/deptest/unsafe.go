package deptest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// kernelPackage is the directory of the package that makes raw system calls.
const kernelPackage = "internal/linux"

// rawCalls are the functions of packages syscall and unix that make any system call.
var rawCalls = map[string]bool{"Syscall": true, "Syscall6": true, "RawSyscall": true,
	"RawSyscall6": true, "RawSyscallNoError": true, "SyscallNoError": true}

// CheckUnsafe returns an error for each file below dir that imports package unsafe, or
// makes raw system calls, outside of internal/linux and of files named *_unsafe.go. Tests
// may. It looks at every file, whatever its build constraints are.
func CheckUnsafe(dir string) ([]error, error) {
	var wrong []error
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		at, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			if at == kernelPackage || at != "." && (name[0] == '.' || name == "testdata" ||
				name == "third_party" || name == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_unsafe.go") ||
			strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		found, err := checkFile(path)
		for _, what := range found {
			wrong = append(wrong, fmt.Errorf("%s %s: only %s and files named *_unsafe.go may",
				at, what, kernelPackage))
		}
		return err
	})
	if err == nil && files == 0 {
		err = fmt.Errorf("no Go files below %s", dir)
	}
	return wrong, err
}

// checkFile returns what a file does that only kernelPackage may.
func checkFile(path string) (found []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, imp := range f.Imports {
		if name, _ := strconv.Unquote(imp.Path.Value); name == "unsafe" {
			found = append(found, "imports unsafe")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := s.X.(*ast.Ident); ok && (pkg.Name == "unix" || pkg.Name == "syscall") &&
			rawCalls[s.Sel.Name] {
			found = append(found, "calls "+pkg.Name+"."+s.Sel.Name)
		}
		return true
	})
	return found, nil
}
