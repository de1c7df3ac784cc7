package syscalls

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

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
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
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

// try finds out what the calling thread is denied. fd listens.
func (d *portDomain) try(fd int, rights landlockRight, named *portSet) {
	if rights&landlockBind != 0 {
		tryPorts(linux.Bind, fd, named, &d.bind)
	}
	if rights&landlockConnect != 0 {
		tryPorts(linux.Connect, fd, named, &d.connect)
	}
	for port := range 1 << 16 {
		if d.connect.has(uint16(port)) {
			err := unix.Sendto(fd, nil, unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL,
				&unix.SockaddrInet4{Port: port, Addr: testNet})
			d.fastOpen = errors.Is(err, unix.EACCES)
			return
		}
	}
}

// testNet is of TEST-NET-1 (RFC 5737), which is not the host's: bind(2) finds that out
// before it looks whether a port takes privileges, which is EACCES, too.
var testNet = [4]byte{192, 0, 2, 1}

// tryPorts adds the ports for which bind(2) or connect(2) fails with EACCES.
func tryPorts(call func(fd int, sa []byte) error, fd int, named, to *portSet) {
	denied := func(port uint16) bool {
		sa := abi.Sockaddr{Addr: netip.AddrPortFrom(netip.AddrFrom4(testNet), port)}
		var buf [abi.SizeofSockaddrInet4]byte
		return errors.Is(call(fd, abi.AppendSockaddr(buf[:0], sa)), unix.EACCES)
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
