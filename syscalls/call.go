package syscalls

import (
	"context"

	"golang.org/x/sys/unix"
)

// A Call is one trapped call, and how it is answered. *sandbox.Notif meets most
// of it. One of Return, Fail, Continue and InstallFD answers it, once; each
// fails if the call has ended, for instance by a signal.
type Call interface {
	TID() int                                                              // the thread that called
	Compat() bool                                                          // whether it is of the 32-bit ABI
	Nr() uintptr                                                           // the system call's number
	Int(i int) int                                                         // argument i, a C int
	Uint(i int) uint64                                                     // argument i, an unsigned long
	Ptr(i int) uintptr                                                     // argument i, an address
	CopyFD(fd int) (int, error)                                            // shares the open file description; the receiver closes it
	ReadMemory(addr uintptr, b []byte) error                               // EFAULT, or that the call has ended
	WriteMemory(addr uintptr, b []byte) error                              // likewise
	WriteMemory2(addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error // both, at the price of one
	Pending() bool                                                         // whether somebody waits for the answer
	Return(v uintptr) error                                                // the call returns v
	Fail(errno unix.Errno) error                                           // the call fails
	Continue() error                                                       // the kernel does the call
	InstallFD(fd int, cloexec bool) (int, error)                           // the call returns the number of a copy of fd; fd stays open
	Keep() Call                                                            // a copy that may be used after Answer has returned
}

// A reply is what a handler wants its call to come to. The zero value returns 0.
type reply struct {
	kind    replyKind
	value   uintptr
	errno   unix.Errno                        // replyErrno; with replyContinue: what the kernel is known to answer
	ends    Ends                              // what the call was about, for traces
	fd      int                               // replyFD: owned by the reply
	cloexec bool                              // replyFD
	undo    func()                            // nobody took the answer; of replyFD: undo owns fd then
	settled func()                            // if not nil: called when the answer was given, or nobody has taken it
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

// letThrough lets the kernel do the call.
var letThrough = reply{kind: replyContinue}

func value(v uintptr) reply { return reply{value: v} }

// fail answers with err's errno, or with 0 if there is no error.
func fail(err error) reply {
	if err == nil {
		return reply{}
	}
	return reply{kind: replyErrno, errno: Errno(err)}
}

// later finishes the call on a goroutine of its own. f gets a copy of the call,
// and a context that ends when nobody waits for the call any more.
func later(f func(context.Context, Call) reply) reply {
	return reply{kind: replyWait, wait: f}
}

// descriptor hands fd to the program. undo gets fd back if nobody takes it.
func descriptor(fd int, cloexec bool, undo func()) reply {
	return reply{kind: replyFD, fd: fd, cloexec: cloexec, undo: undo}
}
