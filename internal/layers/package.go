package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
)

// A source is a package that is parsed and type-checked. Its imports are not resolved:
// only references within the package count.
type source struct {
	fset  *token.FileSet
	info  types.Info
	pkg   *types.Package
	funcs map[types.Object]*ast.FuncDecl
}

// noImports is a types.Importer for packages whose imports do not matter.
type noImports struct{}

// Import implements types.Importer.
func (noImports) Import(string) (*types.Package, error) {
	return nil, errors.New("not imported")
}

// load reads the files of a folder that belong to this platform, without tests.
func load(dir string) (*source, error) {
	b, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	s := &source{fset: token.NewFileSet(), funcs: make(map[types.Object]*ast.FuncDecl)}
	var files []*ast.File
	for _, name := range slices.Concat(b.GoFiles, b.CgoFiles) {
		f, err := parser.ParseFile(s.fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	s.info = types.Info{Uses: make(map[*ast.Ident]types.Object),
		Defs: make(map[*ast.Ident]types.Object)}
	// Errors are expected where the code uses what it imports.
	conf := types.Config{Importer: noImports{}, Error: func(error) {}}
	s.pkg, _ = conf.Check(dir, s.fset, files, &s.info)
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				s.funcs[s.info.Defs[fn.Name]] = fn
			}
		}
	}
	return s, nil
}

// file returns the name of the file with a position.
func (s *source) file(p token.Pos) string {
	return filepath.Base(s.fset.Position(p).Filename)
}

// receiver returns the name of a method's type, and "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	return types.ExprString(t)
}

// follow returns the files of a reader's way from a method, named as TYPE.METHOD, through
// the methods of that type.
func (s *source) follow(start string) (way []string, err error) {
	seen := make(map[types.Object]bool)
	enter := func(fn *ast.FuncDecl) {
		if f := s.file(fn.Pos()); len(way) == 0 || way[len(way)-1] != f {
			way = append(way, f)
		}
	}
	var read func(types.Object, *ast.FuncDecl)
	read = func(o types.Object, fn *ast.FuncDecl) {
		seen[o] = true
		enter(fn)
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			used := s.info.Uses[id]
			called, ok := s.funcs[used]
			if ok && !seen[used] && receiver(called) == receiver(fn) {
				read(used, called)
				enter(fn)
			}
			return true
		})
	}
	for o, fn := range s.funcs {
		if receiver(fn)+"."+fn.Name.Name == start {
			read(o, fn)
			return way, nil
		}
	}
	return nil, fmt.Errorf("there is no method %s", start)
}

// distinct returns how many different names there are.
func distinct(names []string) int {
	names = slices.Clone(names)
	slices.Sort(names)
	return len(slices.Compact(names))
}
