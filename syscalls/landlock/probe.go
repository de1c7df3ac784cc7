package landlock

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// ErrNotProbed means that Probe could not try a ruleset, for instance because the process
// has no descriptor left.
var ErrNotProbed = errors.New("cannot try what a ruleset denies")

// Probe returns what a ruleset denies of the given rights, or nil if it denies nothing.
//
// The kernel does not show the rules of a ruleset. So Probe starts a thread, which
// restricts itself by the ruleset, tries to bind and connect, and ends. flags are those
// of landlock_restrict_self(2). Probe tries each port in named, and one other port: the
// kernel treats all ports alike that no rule names.
//
// Errors of landlock_restrict_self(2) are returned; other errors wrap ErrNotProbed.
func Probe(ruleset int, flags uintptr, rights Right, named *Ports) (*Domain, error) {
	fd, err := linux.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: socket: %w", ErrNotProbed, err)
	}
	defer linux.Close(fd)
	// The kernel neither binds nor connects a listening socket. It asks Landlock before
	// it fails for that reason.
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotProbed, err)
	}
	var d Domain
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
		err := restrictThread(ruleset, flags)
		if err == nil {
			d.try(fd, rights, named)
		}
		done <- err
	}()
	if err := <-done; err != nil || d == (Domain{}) {
		return nil, err
	}
	return &d, nil
}

// restrictThread restricts the calling thread, and no other thread, by a ruleset. It
// switches off the kernel's log of denials (Linux 6.15), since Probe causes them on
// purpose.
func restrictThread(ruleset int, flags uintptr) error {
	flags &^= unix.LANDLOCK_RESTRICT_SELF_TSYNC
	if linux.LandlockABI() >= linux.LandlockABILog {
		flags |= unix.LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	if err := linux.LandlockRestrictSelf(ruleset, flags); err != nil {
		return fmt.Errorf("landlock_restrict_self: %w", err)
	}
	return nil
}

// try stores what the calling thread is denied. fd is a listening socket.
func (d *Domain) try(fd int, rights Right, named *Ports) {
	if rights&BindTCP != 0 {
		tryPorts(linux.Bind, fd, named, &d.bind)
	}
	if rights&ConnectTCP != 0 {
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

// testNet is an address of TEST-NET-1 (RFC 5737), which the host does not have. bind(2)
// checks the address before it checks whether the port needs privileges, for which it
// would fail with EACCES, too.
var testNet = [4]byte{192, 0, 2, 1}

// tryPorts adds to a set the ports for which a call, bind(2) or connect(2), fails with
// EACCES.
func tryPorts(call func(fd int, sa []byte) error, fd int, named, to *Ports) {
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
			to.Add(port)
		}
	}
}
