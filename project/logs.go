package project

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// A Line is a line that an instance has written.
type Line struct {
	Instance string    `json:"i"`
	Time     time.Time `json:"t"`
	Stderr   bool      `json:"e,omitempty"`
	Text     string    `json:"l"`
}

const (
	// maxLine bounds a line that is held back until it is whole, in bytes.
	maxLine = 16 << 10
	// maxLog bounds the file of lines, in bytes; as much again is kept of older ones.
	maxLog = 16 << 20

	linesFile    = "lines.jsonl"
	oldLinesFile = "lines.old.jsonl"
)

// A logbook keeps what the instances of a project write.
type logbook struct {
	dir Dir

	mu      sync.Mutex
	f       *os.File
	size    int64
	opened  int           // how many files there have been
	written chan struct{} // closed, and replaced, when there is more
}

func openLogbook(d Dir) (*logbook, error) {
	l := &logbook{dir: d, written: make(chan struct{})}
	return l, l.open()
}

func (l *logbook) open() (err error) {
	l.f, err = os.OpenFile(l.dir.file(linesFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.opened++
	info, err := l.f.Stat()
	if err == nil {
		l.size = info.Size()
	}
	return err
}

func (l *logbook) add(line Line) {
	b, err := json.Marshal(line)
	if err != nil {
		return // plain data
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return
	}
	if l.size+int64(len(b)) > maxLog {
		l.f.Close()
		if os.Rename(l.dir.file(linesFile), l.dir.file(oldLinesFile)) == nil {
			if l.f, l.size = nil, 0; l.open() != nil {
				return
			}
		}
	}
	n, _ := l.f.Write(b) // a full disk costs lines, and not the project
	l.size += int64(n)
	close(l.written)
	l.written = make(chan struct{})
}

func (l *logbook) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
	l.f = nil
	close(l.written)
	l.written = make(chan struct{})
}

// writer returns a writer whose lines are those of an instance. flush adds what has no
// end of line.
func (l *logbook) writer(instance string, stderr bool) *lineWriter {
	return &lineWriter{l: l, instance: instance, stderr: stderr}
}

type lineWriter struct {
	l        *logbook
	instance string
	stderr   bool
	line     []byte
	last     string // the last line
}

// Write implements io.Writer.
func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		if room := maxLine - len(w.line); len(part) > room {
			part, rest, whole = b[:room], b[room:], true
		}
		if w.line, b = append(w.line, part...), rest; whole {
			w.add()
		}
	}
	return n, nil
}

func (w *lineWriter) add() {
	w.last = string(bytes.TrimSuffix(w.line, []byte("\r")))
	w.l.add(Line{w.instance, time.Now().UTC(), w.stderr, w.last})
	w.line = w.line[:0]
}

func (w *lineWriter) flush() {
	if len(w.line) > 0 {
		w.add()
	}
}

// LogFilter says which lines are wanted.
type LogFilter struct {
	// names of instances or services; empty: all
	Instances []string `json:"instances,omitempty"`
	// the last ones of each instance; negative: all
	Tail  int       `json:"tail"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

func (f *LogFilter) wants(l Line) bool {
	if !f.Since.IsZero() && l.Time.Before(f.Since) ||
		!f.Until.IsZero() && l.Time.After(f.Until) {
		return false
	}
	return len(f.Instances) == 0 || matches(f.Instances, l.Instance)
}

// ReadLog calls each for the lines that a project has kept, in their order.
func (d Dir) ReadLog(f LogFilter, each func(Line) error) error {
	lines, _, err := d.readLog(f)
	for _, l := range lines {
		if err == nil {
			err = each(l)
		}
	}
	return err
}

// readLog returns the kept lines, and where the current file ends.
func (d Dir) readLog(f LogFilter) (lines []Line, end int64, err error) {
	for _, name := range []string{oldLinesFile, linesFile} {
		b, err := os.ReadFile(d.file(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, 0, err
		}
		b = b[:bytes.LastIndexByte(b, '\n')+1]
		end = int64(len(b))
		for line := range bytes.Lines(b) {
			var l Line
			if json.Unmarshal(line, &l) == nil && f.wants(l) {
				lines = append(lines, l)
			}
		}
	}
	return lastOfEach(lines, f.Tail), end, nil
}

// lastOfEach keeps the last n lines of each instance.
func lastOfEach(lines []Line, n int) []Line {
	if n < 0 {
		return lines
	}
	left := map[string]int{}
	for _, l := range lines {
		left[l.Instance]++
	}
	kept := lines[:0]
	for _, l := range lines {
		if left[l.Instance] <= n {
			kept = append(kept, l)
		}
		left[l.Instance]--
	}
	return kept
}

// follow calls each for the lines that are kept, and for those that come, until ctx ends,
// each fails, or the logbook is closed. What was written before the end of ctx is passed
// on.
func (l *logbook) follow(ctx context.Context, f LogFilter, each func(Line) error) error {
	l.mu.Lock()
	lines, at, err := l.dir.readLog(f)
	opened, written := l.opened, l.written
	l.mu.Unlock()
	for _, line := range lines {
		if err == nil {
			err = each(line)
		}
	}
	if err != nil {
		return err
	}
	r, err := os.Open(l.dir.file(linesFile))
	if err != nil {
		return err
	}
	defer func() { r.Close() }()
	var rest []byte
	for last := false; ; {
		b, err := io.ReadAll(io.NewSectionReader(r, at, maxLog))
		if err != nil {
			return err
		}
		at += int64(len(b))
		rest = append(rest, b...)
		for {
			line, after, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				break
			}
			rest = after
			var found Line
			if json.Unmarshal(line, &found) == nil && f.wants(found) {
				if err := each(found); err != nil {
					return err
				}
			}
		}
		l.mu.Lock()
		now, closed := l.opened, l.f == nil
		more := written != l.written
		written = l.written
		l.mu.Unlock()
		switch {
		case now != opened && len(b) == 0: // the file was replaced, and is read
			r.Close()
			if r, err = os.Open(l.dir.file(linesFile)); err != nil {
				return err
			}
			opened, at = now, 0
			continue
		case more || now != opened:
			continue
		case closed || last:
			return nil
		}
		select {
		case <-written:
		case <-ctx.Done():
			last = true // what was written before
		}
	}
}
