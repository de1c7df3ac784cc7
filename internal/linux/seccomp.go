package linux

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InstallFilter puts a filter on the calling thread (SECCOMP_SET_MODE_FILTER of
// seccomp(2)). filter must not be empty.
func InstallFilter(filter []unix.SockFilter) error {
	_, err := installFilter(filter, 0)
	return err
}

// InstallListener is [InstallFilter] with SECCOMP_FILTER_FLAG_NEW_LISTENER. It returns
// the listener. The filter may trap calls that the Go runtime makes on this thread from
// then on: there is none between the system call and the return of this function.
func InstallListener(filter []unix.SockFilter) (fd int, err error) {
	return installFilter(filter, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
}

func installFilter(filter []unix.SockFilter, flags uintptr) (int, error) {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// HasSeccompAction returns nil if the kernel knows an action of filters, such as
// SECCOMP_RET_USER_NOTIF.
func HasSeccompAction(action uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0,
		uintptr(unsafe.Pointer(&action)))
	return errnoOrNil(errno)
}

// Ioctl numbers of linux/seccomp.h. They are the same on amd64 and arm64;
// golang.org/x/sys/unix has some of them for a few architectures only.
const (
	notifRecv     = 0xc0502100
	notifSend     = 0xc0182101
	notifIDValid  = 0x40082102
	notifAddFD    = 0x40182103
	notifSetFlags = 0x40082104
)

// A SeccompNotif is struct seccomp_notif.
type SeccompNotif struct {
	ID    uint64
	PID   uint32 // of the thread, in this process's pid namespace
	Flags uint32
	Nr    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// A SeccompResp is struct seccomp_notif_resp.
type SeccompResp struct {
	ID    uint64
	Val   int64
	Errno int32 // negative
	Flags uint32
}

// A SeccompAddFD is struct seccomp_notif_addfd.
type SeccompAddFD struct {
	ID         uint64
	Flags      uint32
	SrcFD      uint32
	NewFD      uint32
	NewFDFlags uint32
}

// ReceiveNotif receives a trapped call (SECCOMP_IOCTL_NOTIF_RECV). It blocks if none
// waits. n must be zero.
func ReceiveNotif(listener uintptr, n *SeccompNotif) error {
	return ioctl(listener, notifRecv, unsafe.Pointer(n))
}

// SendNotif answers a trapped call (SECCOMP_IOCTL_NOTIF_SEND). It fails with ENOENT if
// the call has ended.
func SendNotif(listener uintptr, r *SeccompResp) error {
	return ioctl(listener, notifSend, unsafe.Pointer(r))
}

// NotifValid reports whether a trapped call waits for its answer
// (SECCOMP_IOCTL_NOTIF_ID_VALID).
func NotifValid(listener uintptr, id *uint64) bool {
	return ioctl(listener, notifIDValid, unsafe.Pointer(id)) == nil
}

// AddFDNotif gives the caller of a trapped call a descriptor (SECCOMP_IOCTL_NOTIF_ADDFD),
// and returns its number there. It blocks until the caller's thread has taken it. Every
// signal is masked meanwhile: with SECCOMP_ADDFD_FLAG_SEND, a signal to this thread could
// make the trapped call return 0 instead of the number.
func AddFDNotif(listener uintptr, a *SeccompAddFD) (fd int, err error) {
	WithSignalsMasked(func() {
		var n uintptr
		var errno unix.Errno
		n, _, errno = unix.Syscall(unix.SYS_IOCTL, listener, notifAddFD,
			uintptr(unsafe.Pointer(a)))
		fd, err = int(n), errnoOrNil(errno)
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// SetNotifFlags sets flags of a listener (SECCOMP_IOCTL_NOTIF_SET_FLAGS, Linux 6.6).
func SetNotifFlags(listener, flags uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, listener, notifSetFlags, flags)
	return errnoOrNil(errno)
}

// WithSignalsMasked runs f with the calling goroutine locked to its thread, and every
// signal masked there.
func WithSignalsMasked(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, old := AllSignals(), unix.Sigset_t{}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		// cannot fail with valid arguments
		panic("linux: pthread_sigmask: " + err.Error())
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	f()
}

// AllSignals is the set of every signal.
func AllSignals() (all unix.Sigset_t) {
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	return all
}
