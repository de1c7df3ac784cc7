package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Writer converts events to a format. Live, recorded and merged traces use the same
// Writers.
type Writer interface {
	// Write takes the next event. It retains nothing that the caller may change.
	Write(Event) error
	// Flush writes everything that can be written now.
	Flush() error
	// Close writes the rest. It does not close the underlying writer.
	Close() error
}

// Options configure formats. Each format uses the options that apply to it.
type Options struct {
	Clock ClockStyle // text: the style of the time at the start of lines
	// text: lines begin with the time since the previous line (-r)
	Relative  bool
	Durations bool // text: lines of calls end with their duration (-T)
	// text: only what strace would write, for programs that parse it
	NoComments bool
	Location   *time.Location // text: the time zone; nil: that of this process
	Slowest    int            // summary: the number of slow connects that it lists; 0: 10
	// html: the largest number of calls, of connections and of lookups in the page; 0:
	// 20,000
	MaxEvents int
}

// A ClockStyle is the style of the time at the start of text lines.
type ClockStyle int

// The styles of strace's -t, -tt and -ttt.
const (
	NoClock     ClockStyle = iota
	Seconds                // 15:04:05
	Microsecond            // 15:04:05.000000
	Epoch                  // seconds since 1970, with microseconds
)

// formats are the constructors of writers, by name.
var formats = map[string]func(io.Writer, Options) Writer{
	"html":     newHTML,
	"json":     func(w io.Writer, _ Options) Writer { return &jsonWriter{out: w} },
	"perfetto": newPerfetto,
	"pcapng":   newPcapng,
	"summary":  newSummaryWriter,
	"text":     newText,
}

// Formats returns the names that NewWriter accepts, sorted.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// NewWriter returns a Writer of a format, which is one of Formats.
func NewWriter(format string, w io.Writer, o Options) (Writer, error) {
	make, ok := formats[format]
	if !ok {
		return nil, fmt.Errorf("no format %q: want one of %s", format,
			strings.Join(Formats(), ", "))
	}
	return make(w, o), nil
}

// Copy passes all events of a trace to a Writer, and closes it. It omits damaged lines,
// and passes them to damaged, which may be nil.
func Copy(w Writer, r *Reader, damaged func(*LineError)) error {
	for {
		e, err := r.Next()
		var at *LineError
		switch {
		case errors.Is(err, io.EOF):
			return w.Close()
		case errors.As(err, &at) && at.passing():
			if damaged != nil {
				damaged(at)
			}
		case err != nil:
			return errors.Join(fmt.Errorf("read trace: %w", err), w.Close())
		default:
			if err := w.Write(e); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
}

// passing reports whether the error is about one line only.
func (e *LineError) passing() bool {
	return errors.Is(e.Err, ErrDamaged) || errors.Is(e.Err, ErrTruncated)
}

// flushAt is how many bytes a writer gathers before it writes.
const flushAt = 64 << 10

// jsonWriter writes JSON lines.
type jsonWriter struct {
	out io.Writer
	buf []byte
}

func (w *jsonWriter) Write(e Event) error {
	if w.buf = Append(w.buf, e); len(w.buf) < flushAt {
		return nil
	}
	return w.Flush()
}

func (w *jsonWriter) Flush() error {
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *jsonWriter) Close() error { return w.Flush() }

// Convert returns a writer of JSON lines, as a Sink writes them. It passes their events
// to w, and flushes w after each Write. Its Close closes w, and then below if it is not
// nil.
func Convert(w Writer, below io.Closer) io.WriteCloser {
	c := &converter{w: w, below: below}
	c.reader = NewReader(&c.lines)
	return c
}

type converter struct {
	w      Writer
	below  io.Closer
	lines  bytes.Buffer
	reader *Reader
}

func (c *converter) Write(lines []byte) (int, error) {
	c.lines.Write(lines)
	for {
		e, err := c.reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			c.reader.fatal = nil // more lines will come
			return len(lines), c.w.Flush()
		case err != nil:
			return len(lines), err
		}
		if err := c.w.Write(e); err != nil {
			return len(lines), err
		}
	}
}

func (c *converter) Close() error {
	err := c.w.Close()
	if c.below != nil {
		err = errors.Join(err, c.below.Close())
	}
	return err
}
