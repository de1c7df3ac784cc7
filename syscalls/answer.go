package syscalls

import (
	"context"
	"errors"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// Answer answers one call. It does not block: calls that have to wait continue on a
// goroutine of their own.
func (n *Node) Answer(c Call) {
	n.waiting.arrived(c.TID())
	if c.Compat() {
		n.answerCompat(c)
		return
	}
	var do func(*Node, Call) reply
	if t := n.tracing.Load(); t != nil {
		do = (*Node).doTraced
		if t.shows(c.Nr()) {
			c = n.traced(c, t)
		}
	} else if nr := c.Nr(); nr < uintptr(len(handlers)) {
		do = handlers[nr]
	}
	if do == nil { // trapped for a tracer that has ended, see Traced
		n.respond(c, passthrough)
		return
	}
	n.dispatch(c, do)
}

// dispatch answers a call by a row's handler.
func (n *Node) dispatch(c Call, do func(*Node, Call) reply) {
	r := do(n, c)
	if r.kind != replyWait {
		n.respond(c, r)
		return
	}
	if t, ok := c.(*tracedCall); ok {
		t.Ends = r.ends
	}
	kept := c.Keep()
	ctx, cancel := context.WithCancel(n.ctx)
	remove := n.waiting.add(kept, cancel)
	n.tasks.Go(func() {
		defer cancel()
		settled := r.settled
		r := r.wait(ctx, kept)
		remove() // before the thread can make its next call
		n.respond(kept, r)
		for _, f := range [...]func(){settled, r.settled} {
			if f != nil {
				f()
			}
		}
	})
}

// respond answers a call, and reports it to the tracer if there is one.
func (n *Node) respond(c Call, r reply) {
	t, ok := c.(*tracedCall)
	if ok {
		t.Ends, t.Errno = r.ends, r.errno
	}
	n.deliverAnswer(c, r)
	if ok {
		t.finish()
	}
}

// deliverAnswer answers a call. Every call gets an answer, even after an internal error:
// a thread without an answer hangs.
func (n *Node) deliverAnswer(c Call, r reply) {
	var err error
	switch r.kind {
	case replyValue:
		err = c.Return(r.value)
	case replyErrno:
		err = c.Fail(r.errno)
	case replyContinue:
		err = c.Continue()
	case replyFD:
		err = n.install(c, r)
	case replyWait:
		panic("syscalls: a waiting call came to another wait")
	}
	if r.taken != nil {
		n.emulator.settleTaken(r.taken, err != nil)
	}
	if err != nil && r.undo != nil && r.kind == replyValue {
		r.undo()
	}
	if err != nil && c.Pending() {
		n.Logger.Error("answer", "nr", c.Nr(), "err", err)
		c.Fail(unix.EIO)
	}
}

// install installs a descriptor in the program. If the program is at its limit of
// descriptors, the connection stays for the next accept, as on Linux.
func (n *Node) install(c Call, r reply) error {
	_, err := c.InstallFD(r.fd, r.cloexec)
	if err == nil {
		linux.Close(r.fd)
		return nil
	}
	r.undo()
	var errno unix.Errno
	if !errors.As(err, &errno) || !c.Pending() {
		return nil
	}
	return c.Fail(errno)
}
