package syscalls

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// takenByHost reports whether a socket of the host has the port on every address. It then
// also conflicts with an alias to which no socket of the node is ever bound.
func (b binding) takenByHost(port uint16) (bool, error) {
	err := probe(b.typ, -1, netip.AddrPortFrom(b.Aliases.of(unused), port))
	return errors.Is(err, unix.EADDRINUSE), ignoreOthers(err)
}

// errNoProbe means that boxer cannot try to bind, for example for lack of descriptors.
// Nothing is known about the port then.
var errNoProbe = errors.New("no socket to try with")

// ignoreOthers returns err if it is errNoProbe, and otherwise nil.
func ignoreOthers(err error) error {
	if errors.Is(err, errNoProbe) {
		return err
	}
	return nil
}

// probe tries to bind a new socket of the given type to addr. The socket has the reuse
// options of like, or none if like is negative. It fails with errNoProbe if it cannot
// make the socket.
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
		// On a kernel that refuses this, before Linux 5.7, a datagram that arrives now is
		// lost.
		linux.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, noInterface)
	}
	probes.Lock()
	defer probes.Unlock()
	defer linux.Close(fd) // at once: others must not see the address taken
	return bindUnlocked(fd, unix.AF_INET, addr)
}

// noInterface is an index that no interface has. A socket that is bound to it holds its
// port but receives no datagram. So a datagram to a closed port is refused even while the
// port is probed.
const noInterface = 1<<31 - 1

// probes is write-locked while a probe holds an address, and read-locked while a
// program's socket is bound or the kernel is asked for the owner of an address. Calls are
// answered on one goroutine, and closed sockets are handled on another. Without the lock,
// each could take a probe of the other for a socket of another process, or for one that
// still exists.
var probes sync.RWMutex
