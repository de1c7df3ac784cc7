package trace

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// A codec visits an event's fields, through the event's fields method. It writes them to
// a line, sets them from a line, or records their descriptions. It does not write fields
// that are zero.
type codec struct {
	mode mode

	buf []byte // writing: the line

	line []field // reading: the fields of the line
	next int     // where in line the next field is expected
	err  error   // of the first bad value

	docs []FieldDoc // describing: the descriptions
}

type mode int

const (
	writing mode = iota
	reading
	describing
)

// A FieldDoc is the description of a field in docs/trace.md.
type FieldDoc struct {
	Name, Kind, About string
}

// field reports whether the caller has to handle a field: to write it, if it is set,
// after field has written its name; or to read it from value.
func (c *codec) field(name, kind, about string, set bool) (value *field, ok bool) {
	switch c.mode {
	case writing:
		if set {
			c.name(name)
		}
		return nil, set
	case reading:
		value := c.find(name)
		return value, value != nil
	}
	c.docs = append(c.docs, FieldDoc{name, kind, about})
	return nil, false
}

// name writes a field's name. Names need no escapes.
func (c *codec) name(name string) {
	c.buf = append(c.buf, ',', '"')
	c.buf = append(c.buf, name...)
	c.buf = append(c.buf, '"', ':')
}

// find returns the field of the line with that name. Callers mostly ask for the fields in
// the order of the line.
func (c *codec) find(name string) *field {
	for i := range c.line {
		at := c.next + i
		if at >= len(c.line) {
			at -= len(c.line)
		}
		if string(c.line[at].name) == name {
			c.next = at + 1
			return &c.line[at]
		}
	}
	return nil
}

// bad records the first error.
func (c *codec) bad(f *field, want string) {
	if c.err == nil {
		shown := f.value
		if len(shown) > 40 {
			shown = shown[:40]
		}
		c.err = &valueError{f.offset, fmt.Sprintf("field %q is %q: want %s", f.name, shown, want)}
	}
}

// A valueError says what is wrong in a line, and where.
type valueError struct {
	offset int
	text   string
}

func (e *valueError) Error() string { return e.text }

func (c *codec) text(name string, p *string, about string) {
	f, ok := c.field(name, "string", about, *p != "")
	switch {
	case !ok:
	case f == nil:
		c.buf = appendString(c.buf, *p)
	default:
		if *p, ok = f.text(); !ok {
			c.bad(f, "a string")
		}
	}
}

func (c *codec) texts(name string, p *[]string, about string) {
	f, ok := c.field(name, "array of strings", about, len(*p) > 0)
	switch {
	case !ok:
	case f == nil:
		c.buf = append(c.buf, '[')
		for i, s := range *p {
			if i > 0 {
				c.buf = append(c.buf, ',')
			}
			c.buf = appendString(c.buf, s)
		}
		c.buf = append(c.buf, ']')
	default:
		if *p, ok = f.texts(); !ok {
			c.bad(f, "an array of strings")
		}
	}
}

func (c *codec) flag(name string, p *bool, about string) {
	f, ok := c.field(name, "boolean", about, *p)
	switch {
	case !ok:
	case f == nil:
		c.buf = append(c.buf, "true"...)
	default:
		*p = string(f.value) == "true"
		if !*p && string(f.value) != "false" {
			c.bad(f, "true or false")
		}
	}
}

// integer handles a number that is written unless it is 0.
func integer[T ~int | ~int64 | ~uint64](c *codec, name string, p *T, about string) {
	number(c, name, p, *p != 0, about)
}

// number handles an integer that is written if set.
func number[T ~int | ~int64 | ~uint64](c *codec, name string, p *T, set bool,
	about string) {
	kind := "integer"
	if _, ok := any(p).(*time.Duration); ok && c.mode == describing {
		kind = "nanoseconds"
	}
	signed := ^T(0) < 0
	f, ok := c.field(name, kind, about, set)
	switch {
	case !ok:
	case f == nil && signed:
		c.buf = strconv.AppendInt(c.buf, int64(*p), 10)
	case f == nil:
		c.buf = strconv.AppendUint(c.buf, uint64(*p), 10)
	case signed:
		n, err := strconv.ParseInt(string(f.value), 10, 64)
		if *p = T(n); err != nil {
			c.bad(f, "an integer of 64 bits")
		}
	default:
		n, err := strconv.ParseUint(string(f.value), 10, 64)
		if *p = T(n); err != nil {
			c.bad(f, "an integer of 64 bits that is not negative")
		}
	}
}

func (c *codec) connID(name string, p *ConnID, about string) {
	f, ok := c.field(name, "hexadecimal string", about, *p != 0)
	switch {
	case !ok:
	case f == nil:
		c.buf = append(c.buf, '"')
		c.buf = strconv.AppendUint(c.buf, uint64(*p), 16)
		c.buf = append(c.buf, '"')
	default:
		s, _ := f.text()
		n, err := strconv.ParseUint(s, 16, 64)
		if *p = ConnID(n); err != nil {
			c.bad(f, "a string of up to 16 hexadecimal digits")
		}
	}
}

func (c *codec) time(name string, p *time.Time, about string) {
	f, ok := c.field(name, "string", about, !p.IsZero())
	switch {
	case !ok:
	case f == nil:
		c.buf = append(c.buf, '"')
		c.buf = p.UTC().AppendFormat(c.buf, time.RFC3339Nano)
		c.buf = append(c.buf, '"')
	default:
		s, _ := f.text()
		t, err := time.Parse(time.RFC3339Nano, s)
		if *p = t.UTC(); err != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
			c.bad(f, "a time of RFC 3339")
		}
	}
}

func (c *codec) addrPort(name string, p *netip.AddrPort, about string) {
	f, ok := c.field(name, "string, ADDRESS:PORT", about, p.IsValid())
	switch {
	case !ok:
	case f == nil && p.Addr().Zone() != "": // a zone could be any text
		c.buf = appendString(c.buf, p.String())
	case f == nil:
		c.buf = append(c.buf, '"')
		c.buf = p.AppendTo(c.buf)
		c.buf = append(c.buf, '"')
	default:
		s, _ := f.text()
		a, err := netip.ParseAddrPort(s)
		if *p = a; err != nil {
			c.bad(f, "ADDRESS:PORT")
		}
	}
}

func (c *codec) bytes(name string, p *[]byte, about string) {
	f, ok := c.field(name, "base64 string", about, len(*p) > 0)
	switch {
	case !ok:
	case f == nil:
		c.buf = append(c.buf, '"')
		c.buf = base64.StdEncoding.AppendEncode(c.buf, *p)
		c.buf = append(c.buf, '"')
	default:
		s, isText := f.text()
		b, err := base64.StdEncoding.DecodeString(s)
		if *p = b; err != nil || !isText {
			c.bad(f, "base64")
		}
	}
}

// list handles an array of addresses or prefixes.
func list[T fmt.Stringer, P interface {
	*T
	UnmarshalText([]byte) error
}](c *codec, name string, p *[]T, about string) {
	f, ok := c.field(name, "array of strings", about, len(*p) > 0)
	switch {
	case !ok:
	case f == nil:
		for i, v := range *p {
			c.buf = append(c.buf, "[,"[min(i, 1)])
			c.buf = appendString(c.buf, v.String())
		}
		c.buf = append(c.buf, ']')
	default:
		texts, isList := f.texts()
		if !isList {
			c.bad(f, "an array of strings")
		}
		*p = make([]T, len(texts))
		for i, s := range texts {
			if err := P(&(*p)[i]).UnmarshalText([]byte(s)); err != nil || s == "" {
				c.bad(f, "an array of addresses")
			}
		}
	}
}

// appendString appends s as a JSON string (RFC 8259, section 7).
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped appends the inside of a string. It escapes control characters, also those
// of ISO 8859-1, so that a trace on a terminal cannot control the terminal. Bytes that
// are not UTF-8 become U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	done := 0
	for i := 0; i < len(s); {
		ch := s[i]
		if ch >= ' ' && ch < 0x7f && ch != '"' && ch != '\\' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r >= 0xa0 && !(r == utf8.RuneError && size == 1) {
			i += size
			continue
		}
		b = append(b, s[done:i]...)
		switch {
		case r == utf8.RuneError:
			b = append(b, "\ufffd"...)
		case r == '"' || r == '\\':
			b = append(b, '\\', ch)
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		}
		i += size
		done = i
	}
	return append(b, s[done:]...)
}
