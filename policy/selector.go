package policy

import (
	"fmt"
	"slices"
	"strings"
)

// A Subject is a node as a policy sees it.
type Subject struct {
	Name string   // lower case
	Tags []string // of the token with which the node joined
}

// ParseSubject reads a node as "boxer policy check" takes it: a name, tags as tag:TAG, or
// both, separated by commas.
func ParseSubject(text string) (s Subject, err error) {
	for part := range strings.SplitSeq(text, ",") {
		tag, isTag := strings.CutPrefix(part, tagPrefix)
		switch {
		case isTag:
			if err := CheckTag(tag); err != nil {
				return s, err
			}
			s.Tags = append(s.Tags, tag)
		case s.Name != "":
			return s, fmt.Errorf("node %q has two names; write tags as tag:TAG", text)
		default:
			if s.Name = strings.ToLower(part); !isName(s.Name) {
				return s, fmt.Errorf("node %q: want NAME, tag:TAG, or both separated by commas", text)
			}
		}
	}
	return s, nil
}

const tagPrefix = "tag:"

// maxTag limits a tag, in bytes.
const maxTag = 63

// CheckTag returns an error unless a tag consists of 1 to 63 lower-case letters, digits
// and hyphens.
func CheckTag(tag string) error {
	if !isName(tag) {
		return fmt.Errorf("tag %q: want 1 to %d lower-case letters, digits and hyphens", tag,
			maxTag)
	}
	return nil
}

// isName reports whether s is a label of RFC 1123 section 2.1 in lower case.
func isName(s string) bool {
	return isPrefix(s) && len(s) > 0 && s[0] != '-' && s[len(s)-1] != '-'
}

// isPrefix reports whether s may begin a name; s may be empty.
func isPrefix(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(s) <= maxTag
}

// A selector names nodes: its text in the policy.
type selector string

const selectAll selector = "all"

func parseSelector(word string) (selector, error) {
	if tag, ok := strings.CutPrefix(word, tagPrefix); ok {
		return selector(word), CheckTag(tag)
	}
	name := strings.ToLower(word)
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		if prefix == "" {
			return "", fmt.Errorf("%q: write all for every node", word)
		}
		if isPrefix(prefix) && prefix[0] != '-' {
			return selector(name), nil
		}
	} else if isName(name) {
		return selector(name), nil
	}
	return "", fmt.Errorf("%q does not name nodes; write a name, the beginning of names as web-*, tag:TAG, or all", word)
}

// matches reports whether the selector names the node.
func (s selector) matches(n Subject) bool {
	if tag, ok := strings.CutPrefix(string(s), tagPrefix); ok {
		return slices.Contains(n.Tags, tag)
	}
	if prefix, ok := strings.CutSuffix(string(s), "*"); ok {
		return strings.HasPrefix(n.Name, prefix)
	}
	return s == selectAll || string(s) == n.Name
}
