// Package vars fills the templates of arguments and names, such as worker-{{.Index}}.
//
// A program that needs a number of its own, such as ZooKeeper's myid, gets it from a
// template instead of a script. Texts that have nothing of a Values stay as they are, so
// that a program may have templates of its own among its arguments.
package vars

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// Values are what the templates of one node can use.
type Values struct {
	Index   int    // of the instance among those of its service, from 1
	Count   int    // of the instances
	Service string // the service's name
	Project string // the project's name; empty: none

	// The node itself. Before it has joined its network they are not known.
	Name         string // of the node
	ID           uint32 // of the node, unlike that of any other
	Addr, Addr6  string // of the node; Addr6 is empty where there is no IPv6
	MembersNamed func(name string) []Member
}

// A Member is a node of the network.
type Member struct {
	ID          uint32
	Name        string
	Addr, Addr6 string
}

// Members returns the nodes with that name, in the order of their ids.
func (v Values) Members(name string) ([]Member, error) {
	if v.MembersNamed == nil {
		return nil, fmt.Errorf("the members are not known here")
	}
	return v.MembersNamed(name), nil
}

// ours matches the templates that use a field of Values.
var ours = regexp.MustCompile(
	`\{\{[^}]*[.$](Index|Count|Service|Project|Name|ID|Addr6?|Members)\b`)

// late matches those that use what is known only of a member of the network.
var late = regexp.MustCompile(`\{\{[^}]*[.$](Name|ID|Addr6?|Members)\b`)

// Uses reports whether Fill would change the text, or fail.
func Uses(text string) bool { return ours.MatchString(text) }

// NeedsMember reports whether the text needs what is known only once a node has joined.
func NeedsMember(text string) bool { return Uses(text) && late.MatchString(text) }

// Fill executes a template of package text/template. Besides its functions there are
// add, sub and mul for whole numbers, and seq, which returns the numbers from 1 to N.
func Fill(text string, v Values) (string, error) {
	if !Uses(text) {
		return text, nil
	}
	t, err := template.New("").Funcs(functions).Parse(text)
	if err != nil {
		return "", fmt.Errorf("template %q: %s", text, cause(err))
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("template %q: %s", text, cause(err))
	}
	return b.String(), nil
}

// FillAll fills several templates.
func FillAll(texts []string, v Values) ([]string, error) {
	filled := make([]string, 0, len(texts))
	for _, text := range texts {
		out, err := Fill(text, v)
		if err != nil {
			return nil, err
		}
		filled = append(filled, out)
	}
	return filled, nil
}

// cause is the text of an error without the template's name, which is empty.
func cause(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "template: "), ":")
}

// maxSeq bounds seq, so that a mistake does not take all memory.
const maxSeq = 1 << 16

var functions = template.FuncMap{
	"add": func(a, b int) int { return a + b },
	"sub": func(a, b int) int { return a - b },
	"mul": func(a, b int) int { return a * b },
	"seq": func(n int) ([]int, error) {
		if n < 0 || n > maxSeq {
			return nil, fmt.Errorf("seq %d: want 0 to %d", n, maxSeq)
		}
		all := make([]int, n)
		for i := range all {
			all[i] = i + 1
		}
		return all, nil
	},
}
