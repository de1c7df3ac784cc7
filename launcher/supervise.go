package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// policyOf is the filter's policy: it traps what the rows are about, native and of the
// 32-bit ABI. own is what the program has for itself, see inOwnNamespaces.
func policyOf(rows []syscalls.Entry, own namespaces) sandbox.Policy {
	var p sandbox.Policy
	for _, e := range trapped(rows, own) {
		p = append(p, rule(e))
	}
	return p
}

func rule(e syscalls.Entry) sandbox.Rule {
	r := sandbox.Rule{Nr: e.Nr, Compat: e.Compat, Errno: e.Fail}
	for _, c := range e.When {
		r.If = append(r.If, condition(c))
	}
	return r
}

func condition(c syscalls.Condition) sandbox.Condition {
	switch {
	case c.NotNull:
		return sandbox.NotNull(c.Arg)
	case c.AtLeast > 0:
		return sandbox.Condition{Arg: c.Arg, Op: sandbox.AtLeast, Value: c.AtLeast}
	case c.Mask != 0:
		return sandbox.BitsEqual(c.Arg, c.Mask, c.Equal)
	}
	return sandbox.IntEqual(c.Arg, c.Equal)
}

// serve answers the trapped calls of a child until no process of it is left.
func serve(l *sandbox.Listener, answer func(syscalls.Call)) error {
	if err := l.Serve(func(n *sandbox.Notif) { answer(call{n}) }); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	return nil
}

// A call is a trapped call as package syscalls sees it.
type call struct{ *sandbox.Notif }

// inaccessible is said once: it explains why a program's calls fail.
var inaccessible sync.Once

// CopyFD implements syscalls.Call. A program may be out of the supervisor's
// reach: it has become another user, or set itself non-dumpable (prctl(2)).
func (c call) CopyFD(fd int) (int, error) {
	got, err := c.Notif.CopyFD(fd)
	if errors.Is(err, unix.EPERM) {
		inaccessible.Do(func() {
			slog.Warn("boxer may not copy a program's sockets, so its network calls fail with EPERM; give boxer CAP_SYS_PTRACE, or run the program as boxer's user",
				"thread", c.TID())
		})
	}
	return got, err
}

// Keep implements syscalls.Call.
func (c call) Keep() syscalls.Call { return call{c.Clone()} }
