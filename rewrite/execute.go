package rewrite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxScripts is how many nested interpreters Linux follows (execve(2)).
const maxScripts = 5

// scriptHead is how much of a script's first line Linux reads (BINPRM_BUF_SIZE).
const scriptHead = 256

// A prepared is a program that is ready for the loader to start.
type prepared struct {
	message []byte     // struct load
	files   []*os.File // sent with the message, in addition to the shared memory
	own     []*os.File // the files that close closes

	name string // of the program's file
	mode uint32 // of that, and its owner and group
	uid  uint32
	gid  uint32
}

// warnIdentity warns of a program whose file says that it runs as another user or group.
// The kernel executes the loader instead, which says no such thing.
func (s *Server) warnIdentity(p *prepared, uid, gid uint32) {
	const setgid = unix.S_ISGID | unix.S_IXGRP
	what := ""
	switch {
	case p.mode&unix.S_ISUID != 0 && p.uid != uid:
		what = "user"
	case p.mode&setgid == setgid && p.gid != gid:
		what = "group"
	default:
		return
	}
	s.cfg.Logger.Warn("a program runs without the "+what+" of its file (set-"+what+
		"-ID): rewritten programs keep the rights of who executes them", "program", p.name)
}

func (p *prepared) close() {
	for _, f := range p.own {
		f.Close()
	}
}

// An opener opens a file for execution, as the executing process would. "" stands for the
// process's own program.
type opener func(path string) (*os.File, error)

// prepare determines what an execve of f runs. It takes ownership of f. path is the name
// that the caller of execve used. Errors wrap the errno of execve(2).
func (s *Server) prepare(f *os.File, path string, open opener) (_ *prepared, err error) {
	p := &prepared{own: []*os.File{f}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	var args []string // replace the first argument
	name := path
	for depth := 0; ; depth++ {
		if s.isLoader(f) {
			if f, err = p.open(open, ""); err != nil {
				return nil, err
			}
		}
		interpreter, arg, err := scriptOf(f)
		if err != nil {
			return nil, err
		}
		if interpreter == "" {
			break
		}
		if depth == maxScripts {
			return nil, unix.ELOOP
		}
		// The script's name replaces its first argument. The interpreter of an
		// interpreter is put before it.
		before := []string{interpreter}
		if arg != "" {
			before = append(before, arg)
		}
		if depth == 0 {
			args = []string{path}
		} else {
			args[0] = name
		}
		args = append(before, args...)
		name = interpreter
		if f, err = p.open(open, interpreter); err != nil {
			return nil, err
		}
	}
	return p, s.describe(p, f, path, args, open)
}

func (p *prepared) open(open opener, path string) (*os.File, error) {
	f, err := open(path)
	if err == nil {
		p.own = append(p.own, f)
	}
	return f, err
}

// scriptOf returns a script's interpreter and the interpreter's argument. It returns
// nothing if f is not a script.
func scriptOf(f *os.File) (interpreter, arg string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", "", unix.EACCES
	}
	head := make([]byte, scriptHead)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", "", err
	}
	return parseScript(head[:n])
}

// parseScript reads the first line of a script (fs/binfmt_script.c).
func parseScript(head []byte) (interpreter, arg string, err error) {
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return "", "", nil
	}
	end := bytes.IndexByte(line, '\n')
	if end >= 0 {
		line = line[:end]
	}
	line = bytes.TrimLeft(line, " \t")
	at := bytes.IndexAny(line, " \t\x00")
	if end < 0 && at < 0 && len(head) == scriptHead {
		return "", "", unix.ENOEXEC // the interpreter's name may be cut off
	}
	if at < 0 {
		at = len(line)
	}
	rest, _, _ := bytes.Cut(line[at:], []byte{0})
	interpreter, arg = string(line[:at]), strings.Trim(string(rest), " \t")
	if interpreter == "" {
		return "", "", unix.ENOEXEC
	}
	return interpreter, arg, nil
}

// add appends a file and its plan to the files for the loader.
func (p *prepared) add(f *os.File, known *file) error {
	plan, err := known.memory()
	if err != nil {
		return err
	}
	p.own = append(p.own, plan)
	p.files = append(p.files, f, plan)
	return nil
}

// describe writes the message for the loader. path is the name under which the program
// was executed.
func (s *Server) describe(p *prepared, f *os.File, path string, args []string,
	open opener) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	p.name, p.mode, p.uid, p.gid = nameOf(f), st.Mode, st.Uid, st.Gid
	var h loadHead
	var interpreter string
	var err error
	if h.Program, interpreter, err = imageOf(f, s.target.machine); err != nil {
		if errors.Is(err, ErrOtherABI) {
			s.cfg.Logger.Warn("cannot follow a program; it does not start", "program",
				nameOf(f), "err", err)
		}
		return err
	}
	known, err := s.files.get(f)
	if err != nil {
		return fmt.Errorf("%w: %w", unix.ENOEXEC, err)
	}
	if err := p.add(f, known); err != nil {
		return err
	}
	if interpreter != "" {
		i, err := p.open(open, interpreter)
		if err != nil {
			return err
		}
		if h.Interpreter, _, err = imageOf(i, s.target.machine); err != nil {
			return fmt.Errorf("%w: %w", unix.ELIBBAD, err)
		}
		known, err := s.files.get(i)
		if err != nil {
			return fmt.Errorf("%w: %w", unix.ELIBBAD, err)
		}
		if err := p.add(i, known); err != nil {
			return err
		}
		h.Interpreted = 1
	}
	var text []byte
	str := func(s string) uint32 {
		at := len(text)
		text = append(append(text, s...), 0)
		return uint32(at)
	}
	h.Path, h.Exe = str(path), str(nameOf(f))
	h.NArgs, h.Args = uint32(len(args)), uint32(len(text))
	for _, a := range args {
		str(a)
	}
	h.Length = uint32(len(text))
	if len(text) > maxText {
		return unix.E2BIG
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		return err
	}
	p.message = append(b.Bytes(), text...)
	return nil
}

// isLoader reports whether a file is the loader itself, as /proc/self/exe is.
func (s *Server) isLoader(f *os.File) bool {
	var a, b unix.Stat_t
	return unix.Fstat(int(f.Fd()), &a) == nil &&
		unix.Fstat(int(s.loader.Fd()), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
