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

// A File is a trace's file that is rotated by size: when it would get longer than Max,
// FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on up to Keep. Each begins with the
// trace's headers, so that it can be read alone.
type File struct {
	path          string
	max           int64 // bytes; 0: no limit
	keep          int
	f             *os.File // nil if rotate could not open it
	size          int64
	partial       bool   // the last line in f is not complete
	missing       []byte // lines that f has to begin with, and does not have yet
	header, clock []byte // the last lines of these types
}

// CreateFile creates a file that only its user may read, or empties one that exists. A
// max of 0 means no limit.
func CreateFile(path string, max int64, keep int) (*File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create trace: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = f.Chmod(0o600) // it may have been there
	} else {
		max = 0 // a pipe or terminal
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create trace: %w", err), f.Close())
	}
	return &File{path: path, max: max, keep: keep, f: f}, nil
}

// Write writes lines: whole ones, or the rest of those that an earlier Write could not
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

// write writes to the file as it is.
func (f *File) write(lines []byte) (int, error) {
	n, err := f.f.Write(lines)
	f.size += int64(n)
	if n > 0 {
		f.partial = lines[n-1] != '\n'
	}
	return n, err // os has put the file's name to it
}

// fitting returns as many whole lines as the file takes before it is rotated, and takes
// down headers among them. It returns at least one line if the file has nothing but its
// beginning, and nothing if it is time to rotate.
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

// note keeps what the next file has to begin with.
func (f *File) note(line []byte) {
	switch {
	case bytes.HasPrefix(line, []byte(`{"type":"header"`)):
		f.header = append(f.header[:0], line...)
	case bytes.HasPrefix(line, []byte(`{"type":"clock"`)):
		f.clock = append(f.clock[:0], line...)
	}
}

// rotate gives the file its new name, and those before it theirs, and begins the next
// one.
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

// begin opens the file, unless it is open, and writes what it has to begin with.
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
