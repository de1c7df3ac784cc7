package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"
)

// A program may lower its own limits. Lowering RLIMIT_LOCKS would remove the mark by
// which package landlock finds a process's restrictions. So the node does not change that
// limit. The calls succeed: the limit has had no effect since Linux 2.4.25
// (getrlimit(2)).

// setrlimit answers setrlimit(2) for RLIMIT_LOCKS.
func (*restrictions) setrlimit(c Call) reply {
	var b [8]byte // all of a 32-bit program's structure, half of a native one
	return fail(c.ReadMemory(c.Ptr(1), b[:]))
}

// prlimit answers prlimit(2) with a new RLIMIT_LOCKS. It returns the limit in force.
func (*restrictions) prlimit(c Call) reply {
	var b [16]byte // struct rlimit64
	if err := c.ReadMemory(c.Ptr(2), b[:]); err != nil {
		return fail(err)
	}
	pid := c.Int(0)
	if pid == 0 {
		pid = c.TID()
	}
	var old unix.Rlimit
	if err := unix.Prlimit(pid, landlock.MarkLimit, nil, &old); err != nil {
		return fail(err)
	}
	if c.Ptr(3) == 0 {
		return value(0)
	}
	binary.NativeEndian.PutUint64(b[:], old.Cur)
	binary.NativeEndian.PutUint64(b[8:], old.Max)
	return fail(c.WriteMemory(c.Ptr(3), b[:]))
}
