package syscalls

import (
	"context"

	"golang.org/x/sys/unix"
)

// A Call is one trapped call, with the ways to answer it. *sandbox.Notif implements most
// of it. Exactly one of Return, Fail, Continue and InstallFD answers the call. Each fails
// if the call has ended, for instance by a signal.
type Call interface {
	// the calling thread
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
	// copies a descriptor of the program; the caller closes the copy
	CopyFD(fd int) (int, error)
	// fails with EFAULT, or if the call has ended
	ReadMemory(addr uintptr, b []byte) error
	WriteMemory(addr uintptr, b []byte) error // likewise
	// writes both at the cost of one system call
	WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error
	// whether the thread still waits for the answer
	Pending() bool
	// the call returns v
	Return(v uintptr) error
	// the call fails
	Fail(errno unix.Errno) error
	// the kernel does the call
	Continue() error
	// the call returns the number of a copy of fd; fd stays open
	InstallFD(fd int, cloexec bool) (int, error)
	// returns a copy that may be used after Answer has returned
	Keep() Call
}

// A reply is a handler's answer to a call. The zero value returns 0.
type reply struct {
	kind  replyKind
	value uintptr
	// for replyErrno; with replyContinue: the errno that the kernel is known to return
	errno   unix.Errno
	ends    Ends // the connection that the call was about, for traces
	fd      int  // replyFD: owned by the reply
	cloexec bool // replyFD
	// called if the call has ended before its answer; for replyFD, undo then owns fd
	undo func()
	// if not nil, called after the answer, whether or not the call was still waiting
	settled func()
	taken   *taken                            // replyValue: received data
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

// passthrough lets the kernel perform the call.
var passthrough = reply{kind: replyContinue}

func value(v uintptr) reply { return reply{value: v} }

// fail returns err's errno to the program, or 0 if err is nil.
func fail(err error) reply {
	if err == nil {
		return reply{}
	}
	return reply{kind: replyErrno, errno: Errno(err)}
}

// async finishes the call on its own goroutine. f gets a copy of the call, and a context
// that ends when the call has ended.
func async(f func(context.Context, Call) reply) reply {
	return reply{kind: replyWait, wait: f}
}

// descriptor installs fd in the program. undo gets fd if the call has ended before.
func descriptor(fd int, cloexec bool, undo func()) reply {
	return reply{kind: replyFD, fd: fd, cloexec: cloexec, undo: undo}
}
