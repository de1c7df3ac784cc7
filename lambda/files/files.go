// Package files lists the files that a function gets, for archives (package lambda) and
// for images (package image).
package files

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// An Entry is a file, a directory or a symbolic link.
type Entry struct {
	Path string      // of the file on this host
	Name string      // relative to the directory, with slashes
	Mode fs.FileMode // type and permissions; every user may read the file
	Link string      // target of a symbolic link; it may be outside of the directory
}

// Walk calls add for every entry below a directory, in the order of names, and for each
// directory before its entries. It fails for anything but files, directories and symbolic
// links. Functions run as another user, so what one user may read, every user may;
// set-user-ID bits are removed.
func Walk(dir string, add func(Entry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := Entry{Path: path, Name: filepath.ToSlash(name)}
		switch info.Mode().Type() {
		case 0:
			e.Mode = info.Mode().Perm() | 0o444
		case fs.ModeDir:
			e.Mode = fs.ModeDir | info.Mode().Perm() | 0o555
		case fs.ModeSymlink:
			e.Mode = fs.ModeSymlink | 0o777
			if e.Link, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: neither a file, a directory nor a symbolic link", path)
		}
		return add(e)
	})
}
