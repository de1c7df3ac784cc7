package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
)

// A File is the file of a trace that is rotated by size. Before it would get longer than
// max, FILE is renamed to FILE.1, FILE.1 to FILE.2, and so on up to keep. Each file
// begins with the trace's headers, so that it can be read alone.
type File struct {
	path          string
	max           int64 // bytes; 0: no limit
	keep          int
	f             *os.File // nil if rotate could not open it
	size          int64
	partial       bool   // the last line in f is incomplete
	missing       []byte // lines with which f has to begin, and which it does not have yet
	header, clock []byte // the last lines of these types
}

// CreateFile creates a file that only its user can read, or empties an existing one. A
// max of 0 means no limit.
func CreateFile(path string, max int64, keep int) (*File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create trace: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = f.Chmod(0o600) // it may have existed
	} else {
		max = 0 // a pipe or terminal
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create trace: %w", err), f.Close())
	}
	return &File{path: path, max: max, keep: keep, f: f}, nil
}

// Write writes whole lines, or the rest of lines that an earlier Write could not
// complete.
func (f *File) Write(lines []byte) (written int, err error) {
	for written < len(lines) {
		if f.f == nil || len(f.missing) > 0 {
			if err := f.begin(); err != nil {
				return written, err
			}
		}
		part := f.fitting(lines[written:])
		if len(part) == 0 {
			if err := f.rotate(); err != nil {
				return written, err
			}
			continue
		}
		n, err := f.write(part)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// write writes to the file, without rotation.
func (f *File) write(lines []byte) (int, error) {
	n, err := f.f.Write(lines)
	f.size += int64(n)
	if n > 0 {
		f.partial = lines[n-1] != '\n'
	}
	return n, err // the error of package os has the name of the file
}

// fitting returns as many whole lines as the file has room for before its rotation. It
// stores headers among them. It returns at least one line if the file has only its
// beginning, and none if the file has to be rotated.
func (f *File) fitting(lines []byte) []byte {
	if f.max == 0 {
		return lines
	}
	end := 0
	for end < len(lines) {
		length := bytes.IndexByte(lines[end:], '\n') + 1
		if length == 0 {
			length = len(lines) - end
		}
		line := lines[end : end+length]
		fresh := f.partial || f.size <= int64(len(f.header)+len(f.clock))
		if !(end == 0 && fresh) && f.size+int64(end+length) > f.max {
			break
		}
		f.note(line)
		end += length
	}
	return lines[:end]
}

// note stores lines with which the next file has to begin.
func (f *File) note(line []byte) {
	switch {
	case bytes.HasPrefix(line, []byte(`{"type":"header"`)):
		f.header = append(f.header[:0], line...)
	case bytes.HasPrefix(line, []byte(`{"type":"clock"`)):
		f.clock = append(f.clock[:0], line...)
	}
}

// rotate renames the files, and begins the next one.
func (f *File) rotate() error {
	if err := f.f.Close(); err != nil {
		return fmt.Errorf("rotate trace: %w", err)
	}
	f.f = nil
	for i := f.keep; i > 0; i-- {
		from := f.path
		if i > 1 {
			from += "." + strconv.Itoa(i-1)
		}
		if err := os.Rename(from, f.path+"."+strconv.Itoa(i)); err != nil &&
			!errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate trace: %w", err)
		}
	}
	f.missing = slices.Concat(f.header, f.clock)
	return f.begin()
}

// begin opens the file, unless it is open, and writes its first lines.
func (f *File) begin() error {
	if f.f == nil {
		next, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("rotate trace: %w", err)
		}
		f.f, f.size, f.partial = next, 0, false
	}
	n, err := f.write(f.missing)
	f.missing = f.missing[n:]
	return err
}

// Close closes the file.
func (f *File) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
