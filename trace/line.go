package trace

import (
	"encoding/json"
	"sync"
	"unicode/utf8"
)

// codecs are the codecs of Append. A codec that is passed to a method of an interface
// would otherwise be allocated each time.
var codecs = sync.Pool{New: func() any { return new(codec) }}

// Append appends an event's line to b, with the newline, and returns the extended slice.
// It does not retain the event, and allocates nothing if b has room.
func Append(b []byte, e Event) []byte {
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	b = append(b, `{"type":"`...)
	b = append(b, e.Type()...)
	c.mode, c.buf = writing, append(b, '"')
	if h, ok := e.(*Header); ok && h.Schema == "" {
		c.name("schema")
		c.buf = appendString(c.buf, Schema)
	}
	e.fields(c)
	b = append(c.buf, '}', '\n')
	c.buf = nil
	return b
}

// A field is a name and its value as they are written in a line: the name without quotes,
// the value with them.
type field struct {
	name, value []byte
	offset      int // of the value in the line, bytes
	escapes     bool
}

// text returns the value as a string, or false if it is not one.
func (f *field) text() (string, bool) {
	v := f.value
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	if inside := v[1 : len(v)-1]; !f.escapes && utf8.Valid(inside) {
		return string(inside), true
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err == nil
}

// texts returns the value as strings, or false if it is not an array of strings.
func (f *field) texts() ([]string, bool) {
	if f.value[0] != '[' {
		return nil, false
	}
	l := scanner{line: f.value, at: 1}
	var texts []string
	for more := l.space() != ']'; more; more = l.space() == ',' {
		if len(texts) > 0 {
			l.at++
		}
		var item field
		if l.space() != '"' || l.value(&item) != nil {
			return nil, false
		}
		s, ok := item.text()
		if !ok {
			return nil, false
		}
		texts = append(texts, s)
	}
	return texts, true
}

// A scanner finds the fields of a line.
type scanner struct {
	line []byte
	at   int
}

// scan appends the fields of a line that is one JSON object (RFC 8259) to into. A
// *valueError says what is wrong.
func scan(into []field, line []byte) ([]field, error) {
	s := scanner{line: line}
	if s.space() != '{' {
		return into, s.wrong("want '{'")
	}
	s.at++
	for first := true; ; first = false {
		next := s.space()
		if next == '}' && first {
			break
		}
		f, err := s.member()
		if err != nil {
			return into, err
		}
		into = append(into, f)
		if next = s.space(); next == '}' {
			break
		}
		if next != ',' {
			return into, s.wrong("want ',' or '}'")
		}
		s.at++
	}
	s.at++
	if s.space(); s.at < len(line) {
		return into, s.wrong("more after the end of the object")
	}
	return into, nil
}

// member reads `"name": value`.
func (s *scanner) member() (field, error) {
	var f field
	if s.space() != '"' {
		return f, s.wrong("want a field's name in quotes")
	}
	if err := s.value(&f); err != nil {
		return f, err
	}
	name := f.value[1 : len(f.value)-1]
	if s.space() != ':' {
		return f, s.wrong("want ':'")
	}
	s.at++
	s.space()
	f = field{name: name}
	return f, s.value(&f)
}

// space skips white space and returns the next byte, or 0 at the end.
func (s *scanner) space() byte {
	for ; s.at < len(s.line); s.at++ {
		if c := s.line[s.at]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

func (s *scanner) wrong(text string) error {
	if s.at >= len(s.line) {
		text = "it is cut short: " + text
	}
	return &valueError{min(s.at, len(s.line)), text}
}

// value reads one value of any kind. encoding/json checks the syntax of arrays and
// objects.
func (s *scanner) value(f *field) error {
	start := s.at
	f.offset = start
	if start >= len(s.line) {
		return s.wrong("want a value")
	}
	switch s.line[start] {
	case '"':
		if err := s.quoted(f); err != nil {
			return err
		}
	case '[', '{':
		if err := s.nested(); err != nil {
			return err
		}
	default:
		for s.at < len(s.line) && plain(s.line[s.at]) {
			s.at++
		}
		if !json.Valid(s.line[start:s.at]) {
			return s.wrong("want a value")
		}
	}
	f.value = s.line[start:s.at]
	return nil
}

// plain reports whether c can be in a number, or in true, false and null.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '+' ||
		c == '.' || c == 'E'
}

// quoted reads a string. text later decodes its escapes.
func (s *scanner) quoted(f *field) error {
	for s.at++; s.at < len(s.line); s.at++ {
		switch c := s.line[s.at]; {
		case c == '"':
			s.at++
			return nil
		case c == '\\':
			f.escapes = true
			s.at++
		case c < ' ':
			return s.wrong("a string has a control character")
		}
	}
	return s.wrong("want '\"'")
}

// nested reads an array or object up to its matching bracket. encoding/json checks its
// syntax.
func (s *scanner) nested() error {
	start, depth := s.at, 0
	for s.at < len(s.line) {
		switch s.line[s.at] {
		case '"':
			var f field
			if err := s.quoted(&f); err != nil {
				return err
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		s.at++
		if depth == 0 {
			if !json.Valid(s.line[start:s.at]) {
				s.at = start
				return s.wrong("a bad array or object")
			}
			return nil
		}
	}
	return s.wrong("want ']' or '}'")
}
