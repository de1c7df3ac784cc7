package strace

import "strconv"

// A constant is a number with a name.
type constant struct {
	value uint64
	name  string
}

// names are the constants of one kind. Flags are shown in the order of the list.
type names struct {
	unknown string // the comment after other values, such as "AF_???"
	list    []constant
}

// find returns the name of a number. ok is false if it has none.
func (n names) find(v uint64) (name string, ok bool) {
	for _, c := range n.list {
		if c.value == v {
			return c.name, true
		}
	}
	return "", false
}

// value appends the name of a number, or the number if it has none.
func (n names) value(b []byte, v uint64) []byte {
	if name, ok := n.find(v); ok {
		return append(b, name...)
	}
	return n.strange(b, v)
}

// strange appends a number that has no name.
func (n names) strange(b []byte, v uint64) []byte {
	b = appendHex(b, v)
	b = append(b, " /* "...)
	b = append(b, n.unknown...)
	return append(b, " */"...)
}

// flags appends the names of the bits that are set, or "0" if there is none.
func (n names) flags(b []byte, v uint64) []byte {
	if v == 0 {
		if name, ok := n.find(0); ok {
			return append(b, name...)
		}
		return append(b, '0')
	}
	start := len(b)
	rest := v
	for _, c := range n.list {
		if c.value != 0 && rest&c.value == c.value {
			if len(b) > start {
				b = append(b, '|')
			}
			b = append(b, c.name...)
			rest &^= c.value
		}
	}
	switch {
	case rest == 0:
		return b
	case len(b) > start:
		return appendHex(append(b, '|'), rest)
	}
	return n.strange(b, rest)
}

// appendHex appends v as C's %#x: 0 is "0".
func appendHex(b []byte, v uint64) []byte {
	if v != 0 {
		b = append(b, "0x"...)
	}
	return strconv.AppendUint(b, v, 16)
}

// appendQuoted appends bytes as strace quotes them: printable ASCII as it is, other bytes
// as escapes of C, with the shortest octal numbers.
func appendQuoted(b, s []byte) []byte {
	b = append(b, '"')
	for i, c := range s {
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\v':
			b = append(b, `\v`...)
		default:
			if c >= ' ' && c < 0x7f {
				b = append(b, c)
				continue
			}
			b = append(b, '\\')
			if i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
				b = append(b, '0'+c>>6, '0'+c>>3&7, '0'+c&7)
			} else {
				b = strconv.AppendUint(b, uint64(c), 8)
			}
		}
	}
	return append(b, '"')
}

// appendQuotedHex appends bytes as strace quotes binary data.
func appendQuotedHex(b, s []byte) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
	}
	return append(b, '"')
}
