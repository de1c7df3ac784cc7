package syscalls

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTable holds the rows to what filter, dispatch and documentation need.
func TestTable(t *testing.T) {
	rows := Table()
	if !slices.IsSortedFunc(rows, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the rows are not in the order of their names")
	}
	for _, e := range rows {
		switch {
		case e.do == nil && e.Fail == 0:
			t.Errorf("%s has neither a handler nor an errno", e.Name)
		case e.do != nil && e.Fail != 0:
			t.Errorf("%s has a handler that is never called", e.Name)
		case e.do != nil && handlers[e.Nr] == nil:
			t.Errorf("%s is not dispatched", e.Name)
		case e.Note == "":
			t.Errorf("%s does not say what boxer does", e.Name)
		}
		for _, c := range e.When {
			if c.Arg > 5 || c.NotNull && c.Equal != 0 {
				t.Errorf("%s has a condition that makes no sense: %+v", e.Name, c)
			}
		}
	}
	for nr, do := range handlers {
		if do != nil && !slices.ContainsFunc(rows,
			func(e Entry) bool { return int(e.Nr) == nr }) {
			t.Errorf("call %d has a handler and no row", nr)
		}
	}
}

// TestUnknownCall gives the node a call that it has no handler for: it is not to hang.
func TestUnknownCall(t *testing.T) {
	w := boxedWorld(t)
	// it says that filter and table disagree
	w.a.node.Logger = slog.New(slog.DiscardHandler)
	for _, nr := range []uintptr{unix.SYS_GETPPID, 1 << 20, ^uintptr(0)} {
		c := newFakeCall(t, 1, nr)
		w.a.node.Answer(c)
		if a := <-c.answer; !a.resume {
			t.Errorf("call %d: %+v, want that the kernel does it", nr, a)
		}
	}
}
