package sandbox

import (
	"errors"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// ErrGone means that the trapped call is not pending any more: a signal
// interrupted it, or its thread died. Nobody waits for the answer.
var ErrGone = errors.New("the trapped call has ended")

// A Notif is one trapped call. Exactly one of Return, Fail, Continue and
// InstallFD must answer it: a thread without an answer hangs.
type Notif struct {
	l   *Listener
	raw linux.SeccompNotif

	// alive is set when the call was seen pending while the receiving goroutine
	// has it: some microseconds later the caller's thread id cannot be another's.
	alive bool
	kept  bool // answered later: alive means nothing
}

// Clone returns a copy that outlives the receive loop's next turn.
func (n *Notif) Clone() *Notif {
	c := *n
	c.kept = true
	return &c
}

// ID tells this call from every other of the same listener.
func (n *Notif) ID() uint64 { return n.raw.ID }

// TID is the thread that called, in the supervisor's pid namespace.
func (n *Notif) TID() int { return int(n.raw.PID) }

// Nr is the system call's number.
func (n *Notif) Nr() uintptr { return uintptr(n.raw.Nr) }

// Int returns argument i as a C int; the register's upper half is undefined.
func (n *Notif) Int(i int) int { return int(int32(n.raw.Args[i])) }

// Uint returns argument i as an unsigned long or size_t.
func (n *Notif) Uint(i int) uint64 { return n.raw.Args[i] }

// Ptr returns argument i as an address in the caller's memory.
func (n *Notif) Ptr(i int) uintptr { return uintptr(n.raw.Args[i]) }

// Pending reports whether the call still waits for its answer.
func (n *Notif) Pending() bool {
	return linux.NotifValid(n.l.fd, &n.raw.ID)
}

// Return lets the call return v.
func (n *Notif) Return(v uintptr) error {
	return n.send(&linux.SeccompResp{ID: n.raw.ID, Val: int64(v)})
}

// Fail lets the call fail with errno, which must not be 0.
func (n *Notif) Fail(errno unix.Errno) error {
	return n.send(&linux.SeccompResp{ID: n.raw.ID, Errno: -int32(errno)})
}

// Continue lets the kernel do the call as if it had not been trapped. The
// kernel reads the caller's memory again: what was read here proves nothing.
func (n *Notif) Continue() error {
	return n.send(&linux.SeccompResp{ID: n.raw.ID,
		Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

func (n *Notif) send(r *linux.SeccompResp) error {
	return gone(linux.SendNotif(n.l.fd, r))
}

// InstallFD gives the caller a copy of fd and lets the call return its number, which
// InstallFD returns too, in one step (SECCOMP_ADDFD_FLAG_SEND, Linux 5.14). fd stays open
// here. The caller's kernel chooses the number as for open(2): the lowest that is free.
// A number that is chosen here could be taken by another thread of the caller meanwhile,
// and SECCOMP_ADDFD_FLAG_SETFD would replace that descriptor, as dup2(2) does.
//
// It fails with ErrGone if nobody waits any more, and with EMFILE at the caller's limit
// (RLIMIT_NOFILE); the call is then still to be answered.
func (n *Notif) InstallFD(fd int, cloexec bool) (int, error) {
	a := linux.SeccompAddFD{ID: n.raw.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SEND,
		SrcFD: uint32(fd)}
	if cloexec {
		a.NewFDFlags = unix.O_CLOEXEC
	}
	got, err := linux.AddFDNotif(n.l.fd, &a)
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

// ReadMemory fills b from the caller's memory at addr. It fails with EFAULT if
// any of it cannot be read, and with ErrGone if the call has ended: the thread
// id may belong to somebody else by then.
func (n *Notif) ReadMemory(addr uintptr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := readMemory(n.TID(), addr, b); err != nil {
		return err
	}
	if !n.Pending() { // before the read, this would prove nothing
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
