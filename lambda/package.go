package lambda

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/boxer-sandbox/boxer/lambda/files"
)

// Limits of a function's archive, in bytes ("Lambda quotas", AWS Lambda Developer Guide):
// of the upload, and of the files in it.
const (
	MaxArchive  = 50 << 20
	MaxUnpacked = 250 << 20
)

// A PackageConfig says what to put into the archive of a function.
type PackageConfig struct {
	Boxer string // path of boxer's program; it becomes the function's bootstrap
	Dir   string // a directory whose files the function gets; empty: none
}

// A PackageInfo describes an archive.
type PackageInfo struct {
	Arch     string // x86_64 or arm64, as the service names them
	Files    int
	Packed   int64 // bytes of the archive
	Unpacked int64 // bytes of the files in it
}

// bootstrap is the file that the service executes in a function with a custom runtime.
const bootstrap = "bootstrap"

// packedTime is the modification time of the files in an archive. The same files make the
// same archive, so a deployment without a change is recognised.
var packedTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Package writes the archive of a function for the runtimes provided.al2023 and
// provided.al2: boxer as bootstrap, and the files below a directory (package files).
func Package(w io.Writer, c PackageConfig) (info PackageInfo, err error) {
	if info.Arch, err = ArchOf(c.Boxer); err != nil {
		return info, err
	}
	counted := &counter{w: w}
	p := packer{zip: zip.NewWriter(counted), info: &info}
	p.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.DefaultCompression)
	})
	if err := p.add(c.Boxer, bootstrap, 0o755); err != nil {
		return info, err
	}
	if c.Dir != "" {
		if err := p.addAll(c.Dir); err != nil {
			return info, err
		}
	}
	err = p.zip.Close()
	info.Packed = counted.n
	if info.Unpacked > MaxUnpacked {
		return info, errors.Join(err, fmt.Errorf("the files have %d MB, and a function's at most %d MB: leave some out",
			info.Unpacked>>20, MaxUnpacked>>20))
	}
	return info, err
}

// ArchOf returns the architecture of a program as the service names it: x86_64 or arm64.
func ArchOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	arch, err := archOfProgram(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return arch, err
}

// archOfProgram reads the architecture of an ELF file.
func archOfProgram(r io.ReaderAt) (string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("not a program: %w", err)
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "x86_64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("it is for %v: functions have x86_64 and arm64", f.Machine)
}

// ArchOfArchive returns the architecture of the bootstrap in an archive of Package.
func ArchOfArchive(b []byte) (string, error) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return "", err
	}
	f, err := z.Open(bootstrap)
	if err != nil {
		return "", fmt.Errorf("no archive of boxer lambda package: %w", err)
	}
	defer f.Close()
	head := make([]byte, 64) // the ELF header; program and section headers are not needed
	if _, err := io.ReadFull(f, head); err != nil {
		return "", err
	}
	// A header that announces no sections and segments is a complete file.
	copy(head[32:48], make([]byte, 16))
	copy(head[56:64], make([]byte, 8))
	return archOfProgram(bytes.NewReader(head))
}

// A counter counts the bytes that are written through it.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// A packer writes an archive.
type packer struct {
	zip  *zip.Writer
	info *PackageInfo
}

// addAll adds everything below a directory.
func (p *packer) addAll(dir string) error {
	return files.Walk(dir, func(e files.Entry) error {
		switch {
		case e.Name == bootstrap:
			return fmt.Errorf("%s: the bootstrap of the function is boxer: give this file another name", e.Path)
		case e.Mode.IsDir():
			_, err := p.create(e.Name+"/", e.Mode)
			return err
		case e.Mode.IsRegular():
			return p.add(e.Path, e.Name, e.Mode)
		}
		w, err := p.create(e.Name, e.Mode)
		if err != nil {
			return err
		}
		p.info.Files++
		_, err = io.WriteString(w, e.Link)
		return err
	})
}

// add adds a file.
func (p *packer) add(path, name string, mode fs.FileMode) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := p.create(name, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, f)
	p.info.Files++
	p.info.Unpacked += n
	return err
}

func (p *packer) create(name string, mode fs.FileMode) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate,
		Modified: packedTime}
	h.SetMode(mode)
	return p.zip.CreateHeader(h)
}
