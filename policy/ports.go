package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Proto is a transport protocol.
type Proto byte

// The protocols that programs of a network use.
const (
	TCP Proto = iota
	UDP
)

// String returns "tcp" or "udp".
func (p Proto) String() string {
	if p == UDP {
		return "udp"
	}
	return "tcp"
}

// A Range is the ports of one protocol from First to Last.
type Range struct {
	Proto       Proto
	First, Last uint16
}

// String returns the range as ParsePorts reads it.
func (r Range) String() string {
	s := strconv.Itoa(int(r.First))
	switch {
	case r.First == 0 && r.Last == maxPort:
		return "*/" + r.Proto.String()
	case r.First != r.Last:
		s += "-" + strconv.Itoa(int(r.Last))
	}
	if r.Proto == UDP {
		s += "/udp"
	}
	return s
}

const maxPort = 1<<16 - 1

// Ports is a set of ports: ranges in ascending order, which neither overlap nor touch.
// The zero value is empty.
type Ports struct{ ranges []Range }

// maxRanges limits the ranges in a text that a user writes. The ports of several targets
// together may have more.
const maxRanges = 256

// AllPorts returns every port of both protocols.
func AllPorts() Ports {
	return Ports{[]Range{{TCP, 0, maxPort}, {UDP, 0, maxPort}}}
}

// ParsePorts reads a list of ports, such as "5432,8080-8090,53/udp" or "*". The package
// comment has its syntax. An error names the part that is wrong, and the remedy.
func ParsePorts(text string) (Ports, error) { return parsePorts(text, maxRanges) }

// parsePorts is ParsePorts for at most most ranges.
func parsePorts(text string, most int) (Ports, error) {
	var all []Range
	for part := range strings.SplitSeq(text, ",") {
		r, err := parseRange(part)
		if err != nil {
			return Ports{}, err
		}
		if all = append(all, r...); len(all) > most {
			return Ports{}, fmt.Errorf("more than %d ranges of ports; write wider ranges",
				most)
		}
	}
	return newPorts(all), nil
}

func parseRange(part string) ([]Range, error) {
	numbers, proto, named := strings.Cut(part, "/")
	r := Range{Proto: TCP}
	switch {
	case part == "":
		return nil, fmt.Errorf("a port is missing; write ports as 5432,8080-8090,53/udp, or * for all")
	case named && proto == "udp":
		r.Proto = UDP
	case named && proto != "tcp":
		return nil, fmt.Errorf("port %q: the protocol is neither tcp nor udp", part)
	}
	if numbers == "*" {
		r.First, r.Last = 0, maxPort
		if !named {
			return AllPorts().ranges, nil
		}
		return []Range{r}, nil
	}
	first, last, isRange := strings.Cut(numbers, "-")
	var err error
	if r.First, err = parsePort(first); err == nil {
		if r.Last = r.First; isRange {
			r.Last, err = parsePort(last)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", part, err)
	}
	if r.First > r.Last {
		return nil, fmt.Errorf("port %q: the range ends before it begins; write %d-%d",
			part, r.Last, r.First)
	}
	return []Range{r}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("ports are numbers from 1 to 65535, such as 5432, 8080-8090 or 53/udp; * stands for all")
	}
	return uint16(n), nil
}

// newPorts sorts ranges, and merges those that overlap or touch.
func newPorts(all []Range) Ports {
	slices.SortFunc(all, func(a, b Range) int {
		if a.Proto != b.Proto {
			return int(a.Proto) - int(b.Proto)
		}
		return int(a.First) - int(b.First)
	})
	var merged []Range
	for _, r := range all {
		if n := len(merged) - 1; n >= 0 && merged[n].Proto == r.Proto &&
			int(r.First) <= int(merged[n].Last)+1 {
			merged[n].Last = max(merged[n].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return Ports{merged}
}

// Has reports whether a port is in the set.
func (p Ports) Has(proto Proto, port uint16) bool {
	for _, r := range p.ranges {
		if r.Proto == proto && r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

// Union returns the ports of both sets.
func (p Ports) Union(o Ports) Ports { return newPorts(slices.Concat(p.ranges, o.ranges)) }

// Empty reports whether the set has no port.
func (p Ports) Empty() bool { return len(p.ranges) == 0 }

// Equal reports whether both sets have the same ports.
func (p Ports) Equal(o Ports) bool { return slices.Equal(p.ranges, o.ranges) }

// All reports whether the set has every port of both protocols.
func (p Ports) All() bool { return p.Equal(AllPorts()) }

// String returns the set as ParsePorts reads it, and "none" for the empty set.
func (p Ports) String() string {
	switch {
	case p.Empty():
		return "none"
	case p.All():
		return "*"
	}
	parts := make([]string, len(p.ranges))
	for i, r := range p.ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// MarshalText implements encoding.TextMarshaler by String.
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the inverse of MarshalText. It takes any number of ranges, since
// Policy.Ports joins those of several targets; the caller limits the length of the text.
func (p *Ports) UnmarshalText(b []byte) (err error) {
	if string(b) == "none" {
		*p = Ports{}
		return nil
	}
	*p, err = parsePorts(string(b), len(b)+1)
	return err
}

// ParsePort reads one port, such as "5432" or "53/udp".
func ParsePort(text string) (Proto, uint16, error) {
	r, err := parseRange(text)
	if err == nil && (len(r) != 1 || r[0].First != r[0].Last) {
		err = fmt.Errorf("port %q: want one port, such as 5432 or 53/udp", text)
	}
	if err != nil {
		return 0, 0, err
	}
	return r[0].Proto, r[0].First, nil
}
