package coordinator

import (
	"fmt"
	"strconv"
	"strings"
)

// maxLabel limits a label, in bytes (RFC 1035 section 2.3.4).
const maxLabel = 63

// ordinalPrefix begins the name that always denotes one node: node-ID.
const ordinalPrefix = "node-"

// OrdinalName returns the name of the node with that id and of no other.
func OrdinalName(id uint32) string { return ordinalPrefix + strconv.FormatUint(uint64(id), 10) }

// ParseOrdinalName is the inverse of OrdinalName. It accepts one spelling for each id, in
// upper or lower case: no leading zero, no sign.
func ParseOrdinalName(name string) (id uint32, ok bool) {
	digits, ok := strings.CutPrefix(strings.ToLower(name), ordinalPrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || OrdinalName(uint32(n)) != ordinalPrefix+digits {
		return 0, false
	}
	return uint32(n), true
}

// CheckName returns the name in lower case, in which it is stored and compared (RFC 1035
// section 2.3.3). An error wraps ErrName and says what is wrong. A name is a label of
// letters, digits and hyphens (RFC 1123 section 2.1). Names are reserved if a resolver
// would take them for an address, for this host, or for a certain node.
func CheckName(name string) (string, error) {
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return "", fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > maxLabel:
		return "", fmt.Errorf("%w: it has %d characters, the most is %d", ErrName,
			len(name), maxLabel)
	case !isLabel(name): // name, not lower: KELVIN SIGN has an ASCII lower case
		return "", fmt.Errorf("%w %q: use letters, digits and hyphens, with no hyphen at either end", ErrName, name)
	case isNumber(lower):
		return "", fmt.Errorf("%w %q: programs would take it for an IP address; add a letter", ErrName, name)
	case lower == "localhost":
		return "", fmt.Errorf("%w %q: it is the name of each node's loopback address", ErrName, name)
	case isOrdinalLike(lower):
		return "", fmt.Errorf("%w %q: %sN is the ordinal name of the node with the id N", ErrName, name, ordinalPrefix)
	}
	return lower, nil
}

// CheckTarget returns a name for lookups, in lower case: one that CheckName accepts, or
// an ordinal name.
func CheckTarget(name string) (string, error) {
	if _, ok := ParseOrdinalName(name); ok {
		return strings.ToLower(name), nil
	}
	return CheckName(name)
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && !isAlphanumeric(c) {
			return false
		}
	}
	return true
}

// isNumber reports whether inet_aton(3) would read the label as an IPv4 address: decimal
// or octal digits, or hexadecimal digits after 0x.
func isNumber(s string) bool {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(s, "0123456789") == ""
}

func isOrdinalLike(s string) bool {
	digits, ok := strings.CutPrefix(s, ordinalPrefix)
	return ok && strings.Trim(digits, "0123456789") == ""
}
