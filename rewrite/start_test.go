package rewrite

import "testing"

func TestStart(t *testing.T) {
	l := newLab(t, nil, func(c *Call) { c.Continue() })
	if got := l.run(t, "echo", "a", "b"); got != "a b" {
		t.Errorf("got %q", got)
	}
}
