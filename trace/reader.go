package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine limits a line, in bytes. A piece of payload has at most 64 KiB, or 88 KiB in
// base64.
const maxLine = 1 << 20

// Errors of a Reader. A *LineError wraps them and adds the place.
var (
	// ErrVersion means that the trace's schema has another major version than this
	// package.
	ErrVersion = errors.New("another version of the schema")
	// ErrNotTrace means that the first line is not the header of a trace.
	ErrNotTrace = errors.New("not a trace of boxer")
	// ErrTruncated means that the last line is incomplete, since its writer was stopped.
	// The lines before are valid.
	ErrTruncated = errors.New("the last line is cut short")
	// ErrDamaged means that a line is not an event.
	ErrDamaged = errors.New("damaged")
)

// A LineError says which line could not be read.
type LineError struct {
	Line   int64 // from 1
	Offset int64 // bytes from the start of the trace to the error
	Err    error // wraps one of the errors above
}

func (e *LineError) Error() string {
	return fmt.Sprintf("line %d, byte %d: %v", e.Line, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *LineError) Unwrap() error { return e.Err }

// A Reader reads a trace. It needs memory for the longest line, at most 1 MiB.
type Reader struct {
	in     *bufio.Reader
	long   []byte // a line longer than in's buffer
	lines  int64  // read
	offset int64  // of the next line
	began  bool   // the header has been read
	codec  codec
	fatal  error // what every further Next returns
}

// NewReader returns a Reader of the JSON lines in r.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 64<<10), codec: codec{mode: reading}}
}

// Next returns the next event. At the end of the trace it returns io.EOF. After a
// *LineError with ErrDamaged, the next call continues with the next line. One with
// ErrNotTrace or ErrVersion ends the trace, and so do errors of the underlying reader.
// Next skips events of types that this version does not know.
func (r *Reader) Next() (Event, error) {
	for r.fatal == nil {
		line, start, err := r.line()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		event, err := r.event(line)
		if err != nil {
			return nil, r.located(err, start, line)
		}
		if event != nil {
			return event, nil
		}
	}
	return nil, r.fatal
}

// line returns the next line, valid until the next call, and its offset.
func (r *Reader) line() (line []byte, start int64, err error) {
	start = r.offset
	r.lines++
	line, err = r.in.ReadSlice('\n')
	r.offset += int64(len(line))
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.longLine(line)
	}
	switch {
	case errors.Is(err, io.EOF) && len(line) > 0: // the next call returns it
		return line, start, nil
	case errors.Is(err, ErrDamaged):
		return nil, start, &LineError{r.lines, start, err}
	case err != nil:
		r.fatal = err
	}
	return line, start, err
}

// longLine returns a line that starts with begin. It reads and discards a line that is
// too long.
func (r *Reader) longLine(begin []byte) ([]byte, error) {
	r.long = append(r.long[:0], begin...)
	length := len(begin)
	for {
		part, err := r.in.ReadSlice('\n')
		r.offset += int64(len(part))
		if length += len(part); length <= maxLine {
			r.long = append(r.long, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if length > maxLine && (err == nil || errors.Is(err, io.EOF)) {
			return nil, fmt.Errorf("%w: a line of %d bytes, where %d are allowed",
				ErrDamaged, length, maxLine)
		}
		return r.long, err
	}
}

// event decodes a line. It returns nil for an event whose type this version does not
// know.
func (r *Reader) event(line []byte) (Event, error) {
	c := &r.codec
	c.next, c.err = 0, nil
	var err error
	if c.line, err = scan(c.line[:0], line); err != nil {
		return nil, err
	}
	kind := c.find("type")
	if kind == nil {
		return nil, &valueError{0, `there is no field "type"`}
	}
	name, ok := kind.text()
	if !ok {
		return nil, &valueError{kind.offset, `the field "type" is no string`}
	}
	event := newEvent([]byte(name))
	if event == nil {
		if !r.began {
			return nil, &valueError{kind.offset,
				fmt.Sprintf("it begins with %.40q, not with a header", name)}
		}
		return nil, nil
	}
	event.fields(c)
	header, isHeader := event.(*Header)
	if isHeader {
		if err := checkVersion(header.Schema); err != nil {
			return nil, err
		}
	}
	if !r.began && !isHeader {
		return nil, &valueError{kind.offset,
			fmt.Sprintf("it begins with %.40q, not with a header", name)}
	}
	if c.err == nil {
		r.began = true
	}
	return event, c.err
}

// checkVersion returns ErrVersion unless this package reads a trace of the schema.
func checkVersion(schema string) error {
	ours, _, _ := strings.Cut(Schema, ".")
	theirs, _, _ := strings.Cut(schema, ".")
	if ours != theirs {
		return fmt.Errorf("%w: the trace has %.20q, this boxer reads %s.x: use the boxer that wrote it, or a newer one", ErrVersion, schema, ours)
	}
	return nil
}

// located adds the place in the trace to an error of a line, and decides whether the
// error ends the trace.
func (r *Reader) located(err error, start int64, line []byte) error {
	at := &LineError{Line: r.lines, Offset: start}
	var bad *valueError
	switch {
	case errors.Is(err, ErrVersion):
		at.Err = err
		r.fatal = at
		return at
	case errors.As(err, &bad):
		at.Offset += int64(bad.offset)
	}
	switch {
	case !r.began:
		at.Err = fmt.Errorf("%w: %w", ErrNotTrace, err)
		r.fatal = at
	case line[len(line)-1] != '\n':
		at.Err = fmt.Errorf("%w: %w", ErrTruncated, err)
	default:
		at.Err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return at
}
