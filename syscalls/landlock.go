package syscalls

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"
)

// restrictions are the restrictions that programs have imposed on themselves by
// landlock(7).
//
// The supervisor performs a program's bind and connect on a copy of its socket, so the
// kernel checks these calls against the supervisor's domain. The supervisor therefore
// checks them against the program's domain itself. When a program restricts itself, the
// supervisor tries the same ruleset (landlock.Probe), and stores the result for the
// thread and its children (landlock.Domains).
//
// A program that does not use Landlock, or uses it only for files, pays for the traps of
// three rare calls and no more.
type restrictions struct {
	*landlock.Domains
	log     *slog.Logger
	handled atomic.Uint64 // the rights of all rulesets so far, LANDLOCK_ACCESS_NET_*

	namedMu sync.Mutex
	named   landlock.Ports // the ports of all rules so far
}

// createRuleset answers landlock_create_ruleset(2). The kernel does the call. The node
// stores which rights the ruleset handles.
func (r *restrictions) createRuleset(c Call) reply {
	const netOffset, size = 8, 16 // handled_access_net in struct landlock_ruleset_attr
	if c.Int(2) != 0 || c.Uint(1) < size {
		return passthrough // asks for the version, or handles only files
	}
	var attr [size]byte
	if c.ReadMemory(c.Ptr(0), attr[:]) == nil {
		r.handled.Or(binary.NativeEndian.Uint64(attr[netOffset:]) & uint64(landlock.TCP))
	}
	return passthrough
}

// addRule answers landlock_add_rule(2) for ports. The kernel does the call. The node
// stores which ports the rule names.
func (r *restrictions) addRule(c Call) reply {
	const portOffset, size = 8, 16 // port in struct landlock_net_port_attr
	var rule [size]byte
	if c.ReadMemory(c.Ptr(2), rule[:]) == nil {
		if port := binary.NativeEndian.Uint64(rule[portOffset:]); port < 1<<16 {
			r.namedMu.Lock()
			r.named.Add(uint16(port))
			r.namedMu.Unlock()
		}
	}
	return passthrough
}

// restrictSelf answers landlock_restrict_self(2). The node finds out what the ruleset
// denies, and stores it for the thread. Then the kernel does the call.
func (r *restrictions) restrictSelf(c Call) reply {
	rights := landlock.Right(r.handled.Load())
	if rights == 0 {
		return passthrough
	}
	ruleset, err := c.CopyFD(c.Int(0))
	if Errno(err) == unix.EBADF {
		return passthrough // the kernel fails, or only changes its log
	}
	if err != nil {
		return r.unrestricted(err)
	}
	flags := uintptr(c.Uint(1) & (1<<32 - 1))
	all := flags&unix.LANDLOCK_RESTRICT_SELF_TSYNC != 0
	if all && linux.LandlockABI() < linux.LandlockABITSYNC {
		linux.Close(ruleset)
		return passthrough // EINVAL
	}
	return async(func(_ context.Context, c Call) reply {
		defer linux.Close(ruleset)
		if !r.MayRestrict(c.TID()) {
			return passthrough // EPERM
		}
		r.namedMu.Lock()
		named := r.named
		r.namedMu.Unlock()
		denied, err := landlock.Probe(ruleset, flags, rights, &named)
		if errors.Is(err, landlock.ErrNotProbed) {
			return r.unrestricted(err)
		}
		if err != nil || denied == nil {
			r.log.Debug("landlock_restrict_self", "denies", denied != nil, "err", err)
			return passthrough // the kernel fails, too, or the ruleset denies no port
		}
		if err := r.Restrict(c.TID(), denied, all); err != nil {
			return r.unrestricted(err)
		}
		return passthrough
	})
}

// unrestricted fails the call of a program whose restrictions the node cannot enforce,
// for instance because boxer has no descriptor left. The program must not believe that it
// is restricted.
func (r *restrictions) unrestricted(err error) reply {
	r.log.Error("cannot enforce a program's landlock(7) restrictions of TCP: "+
		"landlock_restrict_self fails with EPERM", "err", err)
	return fail(unix.EPERM)
}

// permits fails with EACCES if the calling thread's domain denies it a right to a port.
func (r *restrictions) permits(c Call, right landlock.Right, port uint16) error {
	if !r.Active() {
		return nil
	}
	d, err := r.Of(c.TID())
	if err != nil {
		r.log.Error("cannot find out a program's landlock(7) restrictions", "thread",
			c.TID(), "err", err)
		return unix.EACCES
	}
	if d != nil && d.Denies(right, port) {
		return unix.EACCES
	}
	return nil
}
