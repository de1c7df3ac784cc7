package syscalls

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A program that restricts itself by landlock(7) stays restricted: what the supervisor
// does for it, on a copy of its socket, the kernel does not hold against the program's
// domain. So the supervisor asks its own picture of that domain before it binds or
// connects a TCP socket.
//
// The picture is the kernel's. When a program restricts itself, a thread of the
// supervisor does so with the same ruleset, and finds out what is denied (portsDenied).
// Which domain a thread has, the kernel does not tell. Children inherit it, also when
// their parent has gone; so the supervisor marks the process with something that children
// inherit in the same way: a resource limit that Linux has not used since 2.4.25
// (RLIMIT_LOCKS, getrlimit(2)). A thread that restricts itself alone in a process of
// several is known by its number; see landlocked.
//
// Programs that use Landlock for files only, and those that do not use it, cost nothing
// but the trap of these rare calls.
type restrictions struct {
	*landlocked
	handled atomic.Uint64 // rights of all rulesets that were made, LANDLOCK_ACCESS_NET_*

	namedMu sync.Mutex
	named   portSet // ports of all rules
}

// createRuleset answers landlock_create_ruleset(2): the kernel does it, and the node
// learns whether rulesets are about TCP.
func (n *Node) createRuleset(c Call) reply {
	const netOffset, size = 8, 16 // handled_access_net in struct landlock_ruleset_attr
	if c.Int(2) != 0 || c.Uint(1) < size {
		return passthrough // a question for the version, or about files only
	}
	var attr [size]byte
	if c.ReadMemory(c.Ptr(0), attr[:]) == nil {
		n.landlock.handled.Or(binary.NativeEndian.Uint64(attr[netOffset:]) & uint64(landlockRights))
	}
	return passthrough
}

// addRule answers landlock_add_rule(2) for ports: the kernel does it, and the node
// learns which ports rules are about.
func (n *Node) addRule(c Call) reply {
	const portOffset, size = 8, 16 // port in struct landlock_net_port_attr
	var rule [size]byte
	if c.ReadMemory(c.Ptr(2), rule[:]) == nil {
		if port := binary.NativeEndian.Uint64(rule[portOffset:]); port < 1<<16 {
			n.landlock.namedMu.Lock()
			n.landlock.named.add(uint16(port))
			n.landlock.namedMu.Unlock()
		}
	}
	return passthrough
}

// restrictSelf answers landlock_restrict_self(2): the kernel does it, and before that
// the node takes down what it denies.
func (n *Node) restrictSelf(c Call) reply {
	rights := landlockRight(n.landlock.handled.Load())
	if rights == 0 {
		return passthrough
	}
	ruleset, err := c.CopyFD(c.Int(0))
	if Errno(err) == unix.EBADF {
		return passthrough // the kernel says so, or only logging is asked for
	}
	if err != nil {
		return n.unrestricted(err)
	}
	flags := uintptr(c.Uint(1) & (1<<32 - 1))
	all := flags&unix.LANDLOCK_RESTRICT_SELF_TSYNC != 0
	if all && landlockABI() < abiTSYNC {
		linux.Close(ruleset)
		return passthrough // EINVAL
	}
	return async(func(_ context.Context, c Call) reply {
		defer linux.Close(ruleset)
		if !n.landlock.mayRestrict(c.TID()) {
			return passthrough // EPERM
		}
		n.landlock.namedMu.Lock()
		named := n.landlock.named
		n.landlock.namedMu.Unlock()
		denied, err := portsDenied(ruleset, flags, rights, &named)
		if errors.Is(err, errNotTried) {
			return n.unrestricted(err)
		}
		if err != nil || denied == nil {
			n.Logger.Debug("landlock_restrict_self", "denies", denied != nil, "err", err)
			return passthrough // the kernel fails, too, or it is not about TCP
		}
		if err := n.landlock.restrict(c.TID(), denied, all); err != nil {
			return n.unrestricted(err)
		}
		return passthrough
	})
}

// unrestricted answers a program whose restrictions the node cannot keep, since boxer is
// out of descriptors, say. The program must not take itself for restricted.
func (n *Node) unrestricted(err error) reply {
	n.Logger.Error("a program's landlock(7) restrictions of TCP cannot be kept: it is told EPERM", "err", err)
	return fail(unix.EPERM)
}

// permits fails with EACCES if the calling thread's domain denies it a right to a port.
func (n *Node) permits(c Call, right landlockRight, port uint16) error {
	if !n.landlock.isActive() {
		return nil
	}
	d, err := n.landlock.of(c.TID())
	if err != nil {
		n.Logger.Error("a program's landlock(7) restrictions are not known", "thread",
			c.TID(), "err", err)
		return unix.EACCES
	}
	if d != nil && d.denies(right, port) {
		return unix.EACCES
	}
	return nil
}
