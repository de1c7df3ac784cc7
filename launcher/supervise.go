package launcher

import (
	"fmt"

	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// policy is the filter's policy: it traps what the table of calls answers.
func policy() sandbox.Policy {
	var p sandbox.Policy
	for _, e := range syscalls.Table() {
		r := sandbox.Rule{Nr: e.Nr, Errno: e.Fail}
		for _, c := range e.When {
			if c.NotNull {
				r.If = append(r.If, sandbox.NotNull(c.Arg))
			} else {
				r.If = append(r.If, sandbox.IntEqual(c.Arg, c.Equal))
			}
		}
		p = append(p, r)
	}
	return p
}

// serve answers the trapped calls of a child until no process of it is left.
func serve(l *sandbox.Listener, node *syscalls.Node) error {
	if err := l.Serve(func(n *sandbox.Notif) { node.Answer(call{n}) }); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	return nil
}

// A call is a trapped call as package syscalls sees it, on the receiving
// thread.
type call struct{ *sandbox.Notif }

func (c call) Keep() syscalls.Call { return keptCall{call{c.Clone()}} }

// A keptCall is answered on some other thread.
type keptCall struct{ call }

// InstallFD masks the thread's signals, as the receiving thread's are: see
// package sandbox.
func (c keptCall) InstallFD(fd int, cloexec bool) (err error) {
	sandbox.Masked(func() { err = c.Notif.InstallFD(fd, cloexec) })
	return err
}

func (c keptCall) Keep() syscalls.Call { return c }
