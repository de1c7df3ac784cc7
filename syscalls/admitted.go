package syscalls

import (
	"errors"
	"net/netip"
	"os"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// admitted has the sockets of the node's programs that may use the supervisor's own
// loopback sockets. Every user of the host can send there, and the supervisor ignores
// other processes. A trapped call of the program shows each socket before the socket
// sends. The kernel says which socket a packet came from (sock_diag(7)).
//
// There are two generations. When the younger one is full, the older one is dropped. A
// socket that was dropped costs another question to the kernel, if its owner is the
// supervisor's user.
type admitted struct {
	mu sync.Mutex
	// by cookie: the thread that showed it last, 0 if unknown
	young, older map[uint64]int32
	// by kernel address, on kernels without sock_diag
	sources map[netip.AddrPort]struct{}
}

// maxAdmitted bounds each generation. An entry costs some 20 bytes.
const maxAdmitted = 1 << 14

// admit records that a program's thread is about to send from a socket to one of the
// supervisor's. On kernels without sock_diag(7), it binds a UDP socket now, as the kernel
// would with the first datagram, so that the socket's address is known.
func (u *udp) admit(s *progSocket, tid int) error {
	id, err := s.cookie()
	if err != nil {
		return err
	}
	domain, typ, err := s.kind()
	if err != nil {
		return err
	}
	if typ != unix.SOCK_DGRAM || u.diag.HasUDP() {
		u.admitted.note(id, tid)
		return nil
	}
	local, _, err := s.localName()
	if err == nil && local.Addr.Port() == 0 {
		if err = u.bindHost(s, anyAddress(domain)); err == nil {
			local, _, err = s.localName()
		}
	}
	if err != nil {
		return err
	}
	u.admitted.noteSource(sourceOf(local))
	return nil
}

// sourceOf returns the source address of a socket's packets on loopback.
func sourceOf(local abi.Sockaddr) netip.AddrPort {
	kernel := unmapped(local.Addr)
	if kernel.Addr().IsUnspecified() {
		kernel = netip.AddrPortFrom(localhost4, kernel.Port())
	}
	return kernel
}

// anyAddress returns the wildcard address with port 0, for a domain.
func anyAddress(domain int) abi.Sockaddr {
	if domain == unix.AF_INET6 {
		return abi.Sockaddr{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), 0),
			V6: true}
	}
	return abi.Sockaddr{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}
}

// Admits reports whether a packet or connection from the kernel address source to the
// supervisor's socket at to, over "udp" or "tcp", is of a program of this node: a trapped
// call has shown the socket, or the socket's owner is the user who runs boxer. Kernels
// without sock_diag(7) for TCP do not tell, so all connections are admitted there. tid is
// the thread that showed the socket last, 0 if it is not known.
func (c *core) Admits(network string, source, to netip.AddrPort) (tid int, ok bool) {
	lookUp := c.diag.Datagram
	if network == "tcp" {
		lookUp = c.diag.Connection
	}
	source, to = unmapped(source), unmapped(to)
	s, found, err := lookUp(source, to)
	if errors.Is(err, linux.ErrNoSockDiag) {
		return 0, network == "tcp" || c.admitted.hasSource(source)
	}
	if err != nil || !found {
		return 0, false
	}
	tid, shown := c.admitted.shownBy(s.Cookie)
	return tid, shown || s.UID == uint32(os.Geteuid())
}

func (a *admitted) note(id uint64, tid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noteLocked(id, int32(tid))
}

func (a *admitted) noteLocked(id uint64, tid int32) {
	if a.young == nil || len(a.young) >= maxAdmitted {
		a.young, a.older = make(map[uint64]int32), a.young
	}
	a.young[id] = tid
}

// shownBy reports whether a trapped call has shown a socket, and the thread of that call.
func (a *admitted) shownBy(id uint64) (tid int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if by, ok := a.young[id]; ok {
		return int(by), true
	}
	by, ok := a.older[id]
	if ok {
		a.noteLocked(id, by)
	}
	return int(by), ok
}

func (a *admitted) noteSource(source netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sources == nil || len(a.sources) >= maxAdmitted {
		a.sources = make(map[netip.AddrPort]struct{})
	}
	a.sources[source] = struct{}{}
}

func (a *admitted) hasSource(source netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.sources[source]
	return ok
}
