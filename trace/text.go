package trace

import (
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// resultColumn is the column at which strace aligns results (its option -a).
	resultColumn = 40

	// maxThreads limits the threads that a text writer remembers.
	maxThreads = 1 << 16
)

// A textWriter writes what strace -f writes, with comments about what boxer did.
type textWriter struct {
	out  io.Writer
	o    Options
	buf  []byte
	head heads

	// live threads, with the number of arguments of their call that have been written
	threads map[threadKey]int
	prefix  bool          // there has been more than one thread
	held    *Call         // a call that has begun; if it ends next, it takes one line
	last    time.Duration // when the last line began
	first   bool          // a line has been written
}

type threadKey struct{ source, tid int }

func newText(w io.Writer, o Options) Writer {
	if o.Location == nil {
		o.Location = time.Local
	}
	return &textWriter{out: w, o: o, threads: make(map[threadKey]int)}
}

func (w *textWriter) Write(e Event) error {
	call, isCall := e.(*Call)
	if w.held != nil {
		held := w.held
		w.held = nil
		if isCall && call.TID == held.TID && call.Source == held.Source &&
			call.Phase == Exit {
			whole := *call
			whole.Phase = Whole
			w.call(&whole)
			return w.full()
		}
		w.call(held)
	}
	switch e := e.(type) {
	case *Header:
		w.head.add(e)
		w.comment(&e.Base, nil, describeHeader(e))
	case *Call:
		if e.Phase == Enter {
			held := *e
			held.Args = append([]string(nil), e.Args...)
			w.held = &held
			return nil
		}
		w.call(e)
	case *Process:
		w.process(e)
	case *Connection:
		w.comment(&e.Base, &e.Thread, describeConnection(e))
	case *Data:
		w.comment(&e.Base, nil, describeData(e))
	case *DNS:
		w.comment(&e.Base, &e.Thread, describeDNS(e))
	case *Dropped:
		w.comment(&e.Base, nil, describeDropped(e))
	case *End:
		w.comment(&e.Base, nil, "end: "+e.Reason)
	}
	return w.full()
}

func (w *textWriter) full() error {
	if len(w.buf) < flushAt {
		return nil
	}
	return w.write()
}

// Flush also writes a call that has begun and is held back.
func (w *textWriter) Flush() error {
	if w.held != nil {
		held := w.held
		w.held = nil
		w.call(held)
	}
	return w.write()
}

func (w *textWriter) write() error {
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *textWriter) Close() error { return w.Flush() }

// begin begins a line with thread and time, as printleader of strace does.
func (w *textWriter) begin(at *Base, who *Thread) {
	if who != nil && who.TID != 0 {
		key := threadKey{at.Source, who.TID}
		if _, known := w.threads[key]; !known && len(w.threads) < maxThreads {
			w.threads[key] = 0
			w.prefix = w.prefix || len(w.threads) > 1
		}
	}
	var node, thread string
	if at.Source != 0 {
		node = w.head.name(at.Source)
	}
	if who != nil && who.TID != 0 && (w.prefix || node != "") {
		thread = "pid " + padLeft(strconv.Itoa(who.TID), 5)
	}
	if prefix := words(node, thread); prefix != "" {
		w.buf = append(w.buf, '[')
		w.buf = appendComment(w.buf, prefix)
		w.buf = append(w.buf, "] "...)
	}
	w.stamp(at.Time)
}

// stamp writes the time in the chosen style.
func (w *textWriter) stamp(at time.Duration) {
	if w.o.Relative {
		since := max(0, at-w.last)
		if !w.first {
			since = 0
		}
		w.first, w.last = true, at
		w.buf = append(w.buf, padLeft(strconv.FormatInt(int64(since/time.Second), 10), 6)...)
		w.buf = appendMicros(w.buf, since)
		w.buf = append(w.buf, ' ')
	}
	when := w.head.start().Add(at)
	switch w.o.Clock {
	case Seconds:
		w.buf = when.In(w.o.Location).AppendFormat(w.buf, "15:04:05 ")
	case Microsecond:
		w.buf = when.In(w.o.Location).AppendFormat(w.buf, "15:04:05.000000 ")
	case Epoch:
		w.buf = strconv.AppendInt(w.buf, when.Unix(), 10)
		w.buf = appendMicros(w.buf, time.Duration(when.Nanosecond()))
		w.buf = append(w.buf, ' ')
	}
}

// call writes a line of a call.
func (w *textWriter) call(e *Call) {
	key := threadKey{e.Source, e.TID}
	w.begin(&e.Base, &e.Thread)
	column := len(w.buf)
	written := 0
	if e.Phase == Exit || e.Phase == Lost {
		written = w.threads[key]
	}
	resumed := e.Phase == Exit || written > 0
	if resumed {
		w.buf = append(append(append(w.buf, "<... "...), e.Name...), " resumed>"...)
	} else {
		w.buf = append(append(w.buf, e.Name...), '(')
	}
	for i, arg := range e.Args[min(written, len(e.Args)):] {
		if i > 0 || written > 0 {
			w.buf = append(w.buf, ", "...)
		}
		w.buf = append(w.buf, arg...)
	}
	if e.Phase == Enter {
		w.remember(key, len(e.Args))
		w.buf = append(w.buf, " <unfinished ...>"...)
		w.end(describeCall(e))
		return
	}
	w.remember(key, 0)
	w.buf = append(w.buf, ") "...)
	for len(w.buf)-column < resultColumn {
		w.buf = append(w.buf, ' ')
	}
	w.result(e)
	if w.o.Durations && e.Phase.HasResult() {
		w.buf = append(w.buf, " <"...)
		w.buf = strconv.AppendInt(w.buf, int64(e.Duration/time.Second), 10)
		w.buf = appendMicros(w.buf, e.Duration)
		w.buf = append(w.buf, '>')
	}
	w.end(describeCall(e))
}

// remember records how much of a thread's call has been written, or 0 if the call has
// ended.
func (w *textWriter) remember(key threadKey, args int) {
	if _, known := w.threads[key]; known {
		w.threads[key] = args
	}
}

// result writes the result, such as "= 3".
func (w *textWriter) result(e *Call) {
	w.buf = append(w.buf, "= "...)
	switch {
	case !e.Phase.HasResult():
		w.buf = append(w.buf, '?')
	case e.Errno == "":
		w.buf = strconv.AppendInt(w.buf, e.Ret, 10)
	case strings.HasPrefix(e.Errno, "ERESTART"):
		// the kernel restarts the call, or makes it fail with EINTR
		w.buf = append(append(w.buf, "? "...), e.Errno...)
	default:
		w.buf = append(append(w.buf, "-1 "...), e.Errno...)
	}
	if text := errnoTexts[e.Errno]; text != "" {
		w.buf = append(append(append(w.buf, " ("...), text...), ')')
	}
	w.buf = append(w.buf, e.RetNote...)
}

// process writes the end of a process as strace does, and its start and exec as comments.
func (w *textWriter) process(e *Process) {
	what := describeProcess(e)
	if e.What != "exit" {
		w.comment(&e.Base, &e.Thread, what)
		return
	}
	w.begin(&e.Base, &e.Thread)
	w.buf = append(append(append(w.buf, "+++ "...), what...), " +++\n"...)
	delete(w.threads, threadKey{e.Source, e.TID})
}

// comment writes a line with only a comment.
func (w *textWriter) comment(at *Base, who *Thread, text string) {
	if w.o.NoComments {
		return
	}
	w.begin(at, who)
	w.buf = append(w.buf, "/* "...)
	w.buf = appendComment(w.buf, text)
	w.buf = append(w.buf, " */\n"...)
}

// end ends a line, with a comment if it is not empty.
func (w *textWriter) end(comment string) {
	if comment != "" && !w.o.NoComments {
		w.buf = append(w.buf, " /* "...)
		w.buf = appendComment(w.buf, comment)
		w.buf = append(w.buf, " */"...)
	}
	w.buf = append(w.buf, '\n')
}

// appendComment appends text. The text can neither end the comment nor control a
// terminal.
func appendComment(b []byte, text string) []byte {
	for _, r := range strings.ReplaceAll(text, "*/", "* /") {
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b = append(b, string(r)...)
	}
	return b
}

// appendMicros appends the microseconds of a duration's last second, as in ".000123".
func appendMicros(b []byte, d time.Duration) []byte {
	micros := strconv.Itoa(int(d % time.Second / time.Microsecond))
	b = append(b, '.')
	for range 6 - len(micros) {
		b = append(b, '0')
	}
	return append(b, micros...)
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-len(s))) + s
}
