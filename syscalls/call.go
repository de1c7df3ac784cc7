package syscalls

import (
	"context"

	"golang.org/x/sys/unix"
)

// A Call is one trapped call, and how it is answered. *sandbox.Notif meets most
// of it. One of Return, Fail, Continue and InstallFD answers it, once; each
// fails if the call has ended, for instance by a signal.
type Call interface {
	// the thread that called
	TID() int
	// whether it is of the 32-bit ABI
	Compat() bool
	// the system call's number
	Nr() uintptr
	// argument i, a C int
	Int(i int) int
	// argument i, an unsigned long
	Uint(i int) uint64
	// argument i, an address
	Ptr(i int) uintptr
	// shares the open file description; the receiver closes it
	CopyFD(fd int) (int, error)
	// EFAULT, or that the call has ended
	ReadMemory(addr uintptr, b []byte) error
	WriteMemory(addr uintptr, b []byte) error // likewise
	// both, at the price of one
	WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error
	// whether somebody waits for the answer
	Pending() bool
	// the call returns v
	Return(v uintptr) error
	// the call fails
	Fail(errno unix.Errno) error
	// the kernel does the call
	Continue() error
	// the call returns the number of a copy of fd; fd stays open
	InstallFD(fd int, cloexec bool) (int, error)
	// a copy that may be used after Answer has returned
	Keep() Call
}

// A reply is what a handler wants its call to come to. The zero value returns 0.
type reply struct {
	kind  replyKind
	value uintptr
	// replyErrno; with replyContinue: what the kernel is known to answer
	errno   unix.Errno
	ends    Ends // what the call was about, for traces
	fd      int  // replyFD: owned by the reply
	cloexec bool // replyFD
	// nobody took the answer; of replyFD: undo owns fd then
	undo func()
	// if not nil: called when the answer was given, or nobody has taken it
	settled func()
	taken   *taken                            // replyValue: what was received for it
	wait    func(context.Context, Call) reply // replyWait
}

type replyKind uint8

const (
	replyValue replyKind = iota
	replyErrno
	replyContinue
	replyFD
	replyWait
)

// passthrough lets the kernel do the call.
var passthrough = reply{kind: replyContinue}

func value(v uintptr) reply { return reply{value: v} }

// fail answers with err's errno, or with 0 if there is no error.
func fail(err error) reply {
	if err == nil {
		return reply{}
	}
	return reply{kind: replyErrno, errno: Errno(err)}
}

// async finishes the call on a goroutine of its own. f gets a copy of the call,
// and a context that ends when nobody waits for the call any more.
func async(f func(context.Context, Call) reply) reply {
	return reply{kind: replyWait, wait: f}
}

// descriptor hands fd to the program. undo gets fd back if nobody takes it.
func descriptor(fd int, cloexec bool, undo func()) reply {
	return reply{kind: replyFD, fd: fd, cloexec: cloexec, undo: undo}
}
