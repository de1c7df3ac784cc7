package syscalls

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A portSet is a set of ports, one bit each.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(port uint16)      { s[port/64] |= 1 << (port % 64) }
func (s *portSet) has(port uint16) bool { return s[port/64]&(1<<(port%64)) != 0 }

// A portDomain is what a landlock(7) domain denies.
type portDomain struct {
	bind, connect portSet
	// fastOpen says that the kernel asks for the right to connect also when a send with
	// MSG_FASTOPEN connects. Linux 6.18 does not.
	fastOpen bool
}

func (d *portDomain) denies(right landlockRight, port uint16) bool {
	switch right {
	case landlockBind:
		return d.bind.has(port)
	case landlockFastOpen:
		return d.fastOpen && d.connect.has(port)
	}
	return d.connect.has(port)
}

// and returns a domain that denies what either does. Either may be nil.
func (d *portDomain) and(o *portDomain) *portDomain {
	if d == nil {
		return o
	}
	both := *d
	if o != nil {
		for i := range both.bind {
			both.bind[i] |= o.bind[i]
			both.connect[i] |= o.connect[i]
		}
		both.fastOpen = both.fastOpen || o.fastOpen
	}
	return &both
}

// errNotTried means that what a ruleset denies is not known, since nothing could be
// tried.
var errNotTried = errors.New("what a ruleset denies cannot be tried")

// portsDenied returns what a ruleset denies of the given rights, or nil if that is
// nothing. The rules of a ruleset cannot be read, so a thread restricts itself, tries,
// and ends. flags are those of landlock_restrict_self(2); its errors are returned. Others
// wrap errNotTried. named has the ports that rules are about: all others are treated
// alike.
func portsDenied(ruleset int, flags uintptr, rights landlockRight,
	named *portSet) (*portDomain, error) {
	fd, err := linux.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: socket: %w", errNotTried, err)
	}
	defer linux.Close(fd)
	// A socket that listens can neither be bound nor connected any more, which the kernel
	// says after it has asked Landlock.
	if _, err = bindAny(fd, localhost4); err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotTried, err)
	}
	var d portDomain
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := restrictThread(ruleset, flags)
		if err == nil {
			d.try(fd, rights, named)
		}
		done <- err
	}()
	if err := <-done; err != nil || d == (portDomain{}) {
		return nil, err
	}
	return &d, nil
}

// restrictThread restricts the calling thread as a program's thread is about to, but not
// the other threads. Denials are not logged where the kernel would (Linux 6.15): nobody
// has asked for these.
func restrictThread(ruleset int, flags uintptr) error {
	flags &^= unix.LANDLOCK_RESTRICT_SELF_TSYNC
	if landlockABI() >= abiLog {
		flags |= unix.LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset),
		flags, 0)
	if errno != 0 {
		return fmt.Errorf("landlock_restrict_self: %w", errno)
	}
	return nil
}

// Versions of Landlock's interface that have flags of landlock_restrict_self(2).
const (
	abiLog   = 7 // LANDLOCK_RESTRICT_SELF_LOG_*
	abiTSYNC = 8 // LANDLOCK_RESTRICT_SELF_TSYNC
)

// landlockABI returns the version of Landlock's interface, or 0 if there is none.
var landlockABI = sync.OnceValue(func() int {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
})

// try finds out what the calling thread is denied. fd listens.
func (d *portDomain) try(fd int, rights landlockRight, named *portSet) {
	if rights&landlockBind != 0 {
		tryPorts(unix.SYS_BIND, fd, named, &d.bind)
	}
	if rights&landlockConnect != 0 {
		tryPorts(unix.SYS_CONNECT, fd, named, &d.connect)
	}
	for port := range 1 << 16 {
		if d.connect.has(uint16(port)) {
			err := unix.Sendto(fd, nil, unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL,
				&unix.SockaddrInet4{Port: port, Addr: testNet})
			d.fastOpen = err == unix.EACCES
			return
		}
	}
}

// testNet is of TEST-NET-1 (RFC 5737), which is not the host's: bind(2) finds that out
// before it looks whether a port takes privileges, which is EACCES, too.
var testNet = [4]byte{192, 0, 2, 1}

// tryPorts adds the ports for which bind(2) or connect(2) fails with EACCES.
func tryPorts(nr uintptr, fd int, named, to *portSet) {
	denied := func(port uint16) bool {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port>>8 | port<<8,
			Addr: testNet}
		_, _, errno := unix.RawSyscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
			unsafe.Sizeof(sa))
		return errno == unix.EACCES
	}
	known, others := false, false
	for port := range 1 << 16 {
		port := uint16(port)
		is := others
		if named.has(port) {
			is = denied(port)
		} else if !known {
			known, others = true, denied(port)
			is = others
		}
		if is {
			to.add(port)
		}
	}
}
