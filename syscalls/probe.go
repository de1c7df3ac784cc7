package syscalls

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// takenByHost reports whether a socket of the host has the port on every address: then it
// has an alias, too, that nothing of the node is ever bound to.
func (b binding) takenByHost(port uint16) (bool, error) {
	err := probe(b.typ, -1, netip.AddrPortFrom(b.Aliases.of(unused), port))
	return errors.Is(err, unix.EADDRINUSE), ignoreOthers(err)
}

// errNoProbe says that boxer cannot try to bind, for lack of descriptors, say: nothing is
// known about the port.
var errNoProbe = errors.New("no socket to try with")

// ignoreOthers returns err if nothing is known about a port, and nil otherwise.
func ignoreOthers(err error) error {
	if errors.Is(err, errNoProbe) {
		return err
	}
	return nil
}

// probe tries to bind a socket of its own to addr, of the given type, with the
// reuse options of like, or with none if like is negative. It fails with errNoProbe if
// it has none.
func probe(typ, like int, addr netip.AddrPort) error {
	fd, err := linux.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoProbe, err)
	}
	if like >= 0 {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if v, err := linux.GetsockoptInt(like, unix.SOL_SOCKET, opt); err == nil && v != 0 {
				linux.SetsockoptInt(fd, unix.SOL_SOCKET, opt, v)
			}
		}
	}
	if typ == unix.SOCK_DGRAM {
		// A kernel that does not let us do so, before Linux 5.7, loses what comes now.
		linux.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, noInterface)
	}
	probes.Lock()
	defer probes.Unlock()
	defer linux.Close(fd) // at once: nobody else is to see the address taken
	return bindUnlocked(fd, unix.AF_INET, addr)
}

// noInterface is the index of no interface. A socket that is bound to it has its port and
// gets no datagram: what a program sends to a port that is closed is refused also while
// the port is probed.
const noInterface = 1<<31 - 1

// probes is held while a probe has an address, and for reading by who binds a program's
// socket or asks the kernel whose an address is. Calls are answered on one goroutine, and
// the kernel tells of closed sockets on another one. A probe of the one would otherwise
// be a socket of somebody else's to the other, or one that is still there.
var probes sync.RWMutex
