package sandbox

import (
	"errors"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// ErrGone means that the trapped call is no longer pending: a signal interrupted it, or
// its thread died. No thread waits for the answer.
var ErrGone = errors.New("the trapped call has ended")

// A Notif is one trapped call. Exactly one of Return, Fail, Continue and InstallFD must
// answer it. A thread whose call gets no answer hangs.
type Notif struct {
	l   *Listener
	raw linux.SeccompNotif

	// alive is set when the receiving goroutine has seen the call pending. The goroutine
	// uses this for some microseconds only, in which the caller's thread ID cannot have
	// been given to another thread.
	alive bool
	kept  bool // answered later, so alive is not valid
}

// Clone returns a copy that stays valid after the next iteration of the receive loop.
func (n *Notif) Clone() *Notif {
	c := *n
	c.kept, c.alive = true, false
	return &c
}

// ID identifies this call among all calls of the same listener.
func (n *Notif) ID() uint64 { return n.raw.ID }

// TID returns the ID of the calling thread in the supervisor's PID namespace.
func (n *Notif) TID() int { return int(n.raw.PID) }

// Nr returns the number of the system call.
func (n *Notif) Nr() uintptr { return uintptr(n.raw.Nr) }

// Int returns argument i as a C int. The upper half of the register is undefined.
func (n *Notif) Int(i int) int { return int(int32(n.raw.Args[i])) }

// Uint returns argument i as an unsigned long or size_t.
func (n *Notif) Uint(i int) uint64 { return n.raw.Args[i] }

// Ptr returns argument i as an address in the caller's memory.
func (n *Notif) Ptr(i int) uintptr { return uintptr(n.raw.Args[i]) }

// Pending reports whether the call still waits for an answer.
func (n *Notif) Pending() bool {
	var pending bool
	n.l.use(func(fd uintptr) { pending = linux.NotifValid(fd, &n.raw.ID) })
	return pending
}

// Return lets the call return v.
func (n *Notif) Return(v uintptr) error {
	return n.send(&linux.SeccompResp{ID: n.raw.ID, Val: int64(v)})
}

// Fail lets the call fail with errno, which must not be 0.
func (n *Notif) Fail(errno unix.Errno) error {
	return n.send(&linux.SeccompResp{ID: n.raw.ID, Errno: -int32(errno)})
}

// Continue lets the kernel execute the call as if it had not been trapped. The kernel
// reads the caller's memory again, which may have changed since the supervisor read it.
func (n *Notif) Continue() error {
	return n.send(&linux.SeccompResp{ID: n.raw.ID,
		Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

func (n *Notif) send(r *linux.SeccompResp) error {
	err := ErrGone
	n.l.use(func(fd uintptr) { err = gone(linux.SendNotif(fd, r)) })
	return err
}

// InstallFD installs a copy of fd in the caller and lets the call return the copy's
// number, in one step (SECCOMP_ADDFD_FLAG_SEND, Linux 5.14). It also returns that number.
// fd stays open in the supervisor. The kernel chooses the lowest free number, as for
// open(2). If the supervisor chose it, another thread of the caller could take the number
// meanwhile, and SECCOMP_ADDFD_FLAG_SETFD would replace that thread's descriptor, as
// dup2(2) does.
//
// It fails with ErrGone if the call has ended, and with EMFILE at the
// caller's limit (RLIMIT_NOFILE). After EMFILE the call still needs an answer.
func (n *Notif) InstallFD(fd int, cloexec bool) (int, error) {
	a := linux.SeccompAddFD{ID: n.raw.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SEND,
		SrcFD: uint32(fd)}
	if cloexec {
		a.NewFDFlags = unix.O_CLOEXEC
	}
	got, err := -1, ErrGone
	n.l.use(func(fd uintptr) { got, err = linux.AddFDNotif(fd, &a) })
	return got, gone(err)
}

func gone(err error) error {
	for _, errno := range [...]unix.Errno{unix.ENOENT, unix.EINPROGRESS, unix.ESRCH} {
		if errors.Is(err, errno) {
			return ErrGone
		}
	}
	return err
}

// CopyFD returns a copy of the caller's file descriptor fd: it shares the open
// file description (pidfd_getfd(2)). It fails with EBADF if there is no such
// descriptor. The caller of CopyFD closes it.
func (n *Notif) CopyFD(fd int) (int, error) {
	return n.l.pidfds.Copy(n, fd)
}

// ReadMemory fills b from the caller's memory at addr. It fails with EFAULT if it cannot
// read all of it, and with ErrGone if the call has ended. The thread ID may belong to
// another thread by then.
func (n *Notif) ReadMemory(addr uintptr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := readMemory(n.TID(), addr, b); err != nil {
		return err
	}
	if !n.Pending() { // the check must follow the read; before it, it proves nothing
		return ErrGone
	}
	n.alive = !n.kept
	return nil
}

// WriteMemory copies b into the caller's memory at addr. It fails as
// ReadMemory does.
func (n *Notif) WriteMemory(addr uintptr, b []byte) error {
	return n.WriteMemoryv(addr, b, 0, nil)
}

// WriteMemoryv is WriteMemory to two places, at the price of one: a system call
// into another process costs about 2 us.
func (n *Notif) WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	if len(b1)+len(b2) == 0 {
		return nil
	}
	if !n.alive && !n.Pending() {
		return ErrGone
	}
	return writeMemory(n.TID(), addr1, b1, addr2, b2)
}
