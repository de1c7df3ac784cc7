// Package doccheck checks the project's Markdown files: the width of lines, and that
// links, anchors and names of files lead somewhere.
//
// Its test runs it over the whole tree, so a file that is renamed without the documents
// that name it fails the test.
package doccheck

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxColumns is how wide a line may be. Rows of tables, and lines that are one link, may
// be wider: Markdown cannot break them.
const maxColumns = 100

var (
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`^#+ +(.*)$`)
	// source is the name of a file of this repository, as prose writes it.
	source = regexp.MustCompile(`\b[a-z0-9_]+(?:/[a-z0-9_]+)*/[A-Za-z0-9_]+\.(?:go|c|h|md|sh|service)\b`)
)

// Check returns what is wrong with the Markdown file name of the tree.
func Check(tree fs.FS, name string) (problems []string, err error) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	d := document{tree: tree, name: name}
	fenced := false
	for i, line := range strings.Split(string(text), "\n") {
		d.line = i + 1
		d.width(line)
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			d.links(line)
		}
		d.sources(line)
	}
	return d.problems, d.err
}

// A document is a Markdown file that is being checked.
type document struct {
	tree     fs.FS
	name     string
	line     int
	problems []string
	err      error
}

func (d *document) report(format string, args ...any) {
	d.problems = append(d.problems,
		fmt.Sprintf("%s:%d: %s", d.name, d.line, fmt.Sprintf(format, args...)))
}

func (d *document) width(line string) {
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "|") || link.FindString(trimmed) == trimmed && trimmed != "" {
		return
	}
	if n := utf8.RuneCountInString(line); n > maxColumns {
		d.report("%d columns, the most is %d", n, maxColumns)
	}
}

// links follows the relative links of a line.
func (d *document) links(line string) {
	for _, m := range link.FindAllStringSubmatch(line, -1) {
		target, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, ":") {
			continue // a URL
		}
		file := d.name
		if target != "" {
			file = path.Join(path.Dir(d.name), target)
		}
		if _, err := fs.Stat(d.tree, file); err != nil {
			d.report("link to %s: no such file", m[1])
			continue
		}
		if anchor == "" {
			continue
		}
		known, err := anchors(d.tree, file)
		if err != nil {
			d.err = err
			return
		}
		if !known[anchor] {
			d.report("link to %s: no such heading", m[1])
		}
	}
}

// sources looks for the files that a line names by their path.
func (d *document) sources(line string) {
	for _, at := range source.FindAllStringIndex(line, -1) {
		// A part of a longer path, or of a URL, is not a name of its own.
		if at[0] > 0 && strings.ContainsRune("/.~$-", rune(line[at[0]-1])) {
			continue
		}
		file := line[at[0]:at[1]]
		top, _, _ := strings.Cut(file, "/")
		if _, err := fs.Stat(d.tree, top); err != nil {
			continue // not of this repository: kernel/seccomp.c
		}
		if _, err := fs.Stat(d.tree, file); err != nil {
			d.report("%s: no such file", file)
		}
	}
}

// anchors returns the anchors that GitHub makes of a file's headings.
func anchors(tree fs.FS, name string) (map[string]bool, error) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	fenced := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if m := heading.FindStringSubmatch(line); m != nil && !fenced {
			known[anchorOf(m[1])] = true
		}
	}
	return known, nil
}

// anchorOf makes an anchor of a heading: lower case, hyphens for spaces, and nothing but
// letters, digits, hyphens and underscores.
func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}
