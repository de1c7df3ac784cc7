package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a policy: bytes of its text, bytes of one line, and rules.
const (
	MaxText  = 64 << 10
	maxLine  = 4 << 10
	maxRules = 4096
)

// A Policy says who may connect to whose ports. It is immutable. What no rule allows is
// denied: the zero Policy denies everything.
type Policy struct {
	text  string
	rules []rule

	selectors []selector // of all rules, each once
}

// A rule is one line.
type rule struct {
	line int // from 1
	from []selector
	to   []target
}

type target struct {
	nodes selector
	ports Ports
}

// Example is a policy that a user can begin with. It allows everything.
const Example = `# Who may connect to whose ports. What no line allows is denied.
#
#   allow web to db:5432
#   allow tag:worker ops-* to tag:cache:6379,16379 dns:53/udp
#
# This line allows every node to connect to every port. Remove it when the
# lines above it allow what your programs need.
allow all
`

// An Error is a line of a policy that is wrong.
type Error struct {
	File string // as the caller of Parse names the text
	Line int    // from 1
	Text string // cause and remedy
}

// Error returns "FILE:LINE: cause and remedy".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// maxErrors limits the wrong lines that Parse reports.
const maxErrors = 10

// Parse reads a policy. name is how errors name its text, such as a file name. The error
// joins an *Error for each of the first ten lines that are wrong.
func Parse(name, text string) (*Policy, error) {
	if len(text) > MaxText {
		return nil, &Error{name, 1, fmt.Sprintf("the policy has %d bytes, the most is %d; name groups of nodes by tags", len(text), MaxText)}
	}
	p := &Policy{text: text}
	var wrong []error
	line := 0
	for s := range strings.SplitSeq(text, "\n") {
		line++
		r, err := parseLine(strings.TrimSuffix(s, "\r"))
		if err == nil && len(p.rules) == maxRules && r != nil {
			err = fmt.Errorf("more than %d rules; name groups of nodes by tags", maxRules)
		}
		if err != nil {
			if wrong = append(wrong, &Error{name, line, err.Error()}); len(wrong) == maxErrors {
				break
			}
			continue
		}
		if r != nil {
			r.line = line
			p.rules = append(p.rules, *r)
			p.addSelectors(r)
		}
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	return p, nil
}

func (p *Policy) addSelectors(r *rule) {
	for _, t := range r.to {
		if !slices.Contains(p.selectors, t.nodes) {
			p.selectors = append(p.selectors, t.nodes)
		}
	}
	for _, s := range r.from {
		if !slices.Contains(p.selectors, s) {
			p.selectors = append(p.selectors, s)
		}
	}
}

// parseLine returns the rule of a line, or nil for a line without one.
func parseLine(s string) (*rule, error) {
	if len(s) > maxLine {
		return nil, fmt.Errorf("the line has %d bytes, the most is %d; write several rules",
			len(s), maxLine)
	}
	for _, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f || c == '\ufffd' {
			return nil, errors.New("the line has a character that is not text; is this a policy?")
		}
	}
	s, _, _ = strings.Cut(s, "#")
	words := strings.Fields(s)
	switch {
	case len(words) == 0:
		return nil, nil
	case words[0] != "allow":
		return nil, fmt.Errorf("%q begins no rule; write allow FROM... to NODE:PORTS... (what is not allowed is denied)", words[0])
	case len(words) == 2 && words[1] == string(selectAll):
		return &rule{from: []selector{selectAll}, to: []target{{selectAll, AllPorts()}}}, nil
	}
	to := slices.Index(words, "to")
	switch {
	case to < 0:
		return nil, errors.New("the word to is missing; write allow FROM... to NODE:PORTS..., or allow all")
	case to == 1:
		return nil, errors.New("no node before the word to; write who may connect, such as allow web to db:5432")
	case to == len(words)-1:
		return nil, errors.New("no target after the word to; write NODE:PORTS, such as db:5432")
	}
	var r rule
	for _, w := range words[1:to] {
		n, err := parseSelector(w)
		if err != nil {
			return nil, err
		}
		r.from = append(r.from, n)
	}
	for _, w := range words[to+1:] {
		t, err := parseTarget(w)
		if err != nil {
			return nil, err
		}
		r.to = append(r.to, t)
	}
	return &r, nil
}

func parseTarget(word string) (t target, err error) {
	at := strings.LastIndexByte(word, ':')
	if at < 0 || word[:at+1] == tagPrefix {
		return t, fmt.Errorf("%q has no ports; write %s:PORTS, such as %s:5432, or %s:* for all",
			word, word, word, word)
	}
	if t.nodes, err = parseSelector(word[:at]); err != nil {
		return t, err
	}
	if t.ports, err = ParsePorts(word[at+1:]); err != nil {
		return t, fmt.Errorf("%q: %w", word, err)
	}
	return t, nil
}

// AllowsAll reports whether a rule allows every node to connect to every port.
func (p *Policy) AllowsAll() bool {
	for _, r := range p.rules {
		if !slices.Contains(r.from, selectAll) {
			continue
		}
		for _, t := range r.to {
			if t.nodes == selectAll && t.ports.All() {
				return true
			}
		}
	}
	return false
}

// String returns the text from which the policy was parsed.
func (p *Policy) String() string { return p.text }

// Rules returns the number of rules.
func (p *Policy) Rules() int { return len(p.rules) }

// Check reports whether a node may connect to a port of another one. line is the number
// of the first rule that allows it.
func (p *Policy) Check(from, to Subject, proto Proto, port uint16) (line int, ok bool) {
	for i := range p.rules {
		r := &p.rules[i]
		if !r.isFrom(from) {
			continue
		}
		for _, t := range r.to {
			if t.nodes.matches(to) && t.ports.Has(proto, port) {
				return r.line, true
			}
		}
	}
	return 0, false
}

// Ports returns the ports of one node to which another one may connect.
func (p *Policy) Ports(from, to Subject) Ports {
	var all []Range
	for i := range p.rules {
		r := &p.rules[i]
		if !r.isFrom(from) {
			continue
		}
		for _, t := range r.to {
			if t.nodes.matches(to) {
				all = append(all, t.ports.ranges...)
			}
		}
	}
	return newPorts(all)
}

func (r *rule) isFrom(n Subject) bool {
	return slices.ContainsFunc(r.from, func(s selector) bool { return s.matches(n) })
}

// A Class is equal for nodes that no rule of the policy tells apart.
type Class string

// Class returns the class of a node.
func (p *Policy) Class(n Subject) Class {
	bits := make([]byte, (len(p.selectors)+7)/8)
	for i, s := range p.selectors {
		if s.matches(n) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return Class(bits)
}
