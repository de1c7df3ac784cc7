package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// socket answers socket(2) for NETLINK_ROUTE and for ping sockets, which boxer implements
// by sockets of other kinds. The kernel makes UDP sockets for the program.
func (n *Node) socket(c Call) reply {
	if c.Int(0) == unix.AF_NETLINK {
		return n.netlinks.socket(c)
	}
	if n.Datagrams == nil {
		return passthrough
	}
	return n.udp.pingSocket(c)
}

// newSocket makes a socket for a program.
func newSocket(domain, typ, proto int) reply {
	fd, err := linux.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return fail(err)
	}
	return descriptor(fd, typ&unix.SOCK_CLOEXEC != 0, func() { linux.Close(fd) })
}

// isUDP reports whether the socket is a UDP socket that the node translates. Calls on
// sockets of all kinds ask this; the first check excludes most others.
func (s *progSocket) isUDP() (bool, error) {
	proto, err := linux.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || proto != unix.IPPROTO_UDP {
		return false, err
	}
	domain, typ, err := s.kind() // SOCK_RAW may have that protocol as well
	return isInet(domain) && typ == unix.SOCK_DGRAM && s.inOwnNamespace(), err
}

// inOwnNamespace reports whether a socket is in the supervisor's network namespace. In
// another one, which a program has made (unshare(2)), the node's aliases and flows do not
// exist.
func inOwnNamespace(fd int) bool {
	own := ownNamespace()
	c, err := namespaceCookie(fd)
	return own == 0 || err != nil || c == own
}

// ownNamespace returns the cookie of the supervisor's network namespace, or 0.
var ownNamespace = sync.OnceValue(func() uint64 {
	fd, err := linux.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer linux.Close(fd)
	c, _ := namespaceCookie(fd)
	return c
})

// namespaceCookie is SO_NETNS_COOKIE of include/uapi/asm-generic/socket.h, since Linux
// 5.14.
func namespaceCookie(fd int) (uint64, error) {
	return linux.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// connect answers connect(2) on a UDP socket.
func (u *udp) connect(c Call, s *progSocket, dst netip.AddrPort) reply {
	if u.pings.has(s) {
		return fail(u.connectPing(c, s, dst.Addr()))
	}
	if isLocalhost(dst.Addr()) && u.nameServerAt(dst, u.hasNameServer) == notNameServer {
		return fail(u.connectClient(c, s, dst))
	}
	if id, err := s.cookie(); err == nil {
		u.clients.drop(id)
	}
	for range pinTries {
		kernel, ok, err := u.datagramWay(s, dst, holderOf(c))
		if err != nil {
			return fail(err)
		}
		if !ok {
			return u.connectHost(s)
		}
		if err := s.connectTo(kernel); err != nil {
			return fail(err)
		}
		if u.pin(s, kernel) {
			return reply{}
		}
	}
	return fail(unix.ENOBUFS)
}

// pinTries bounds how often connect(2) chooses a flow again because the flow has lost its
// socket before the program's socket was connected to it.
const pinTries = 8

// connectHost answers connect(2) on a UDP socket whose destination the kernel itself
// reaches.
func (u *udp) connectHost(s *progSocket) reply {
	if id, err := s.cookie(); err == nil {
		u.flows.unpin(id)
	}
	// A connect to the outside after one to the network: the kernel keeps the first
	// source address, and from loopback it cannot reach the outside.
	if local, ok, err := s.localName(); err == nil && ok &&
		local.Addr.Addr().Unmap() == localhost4 {
		if err := s.disconnect(); err != nil {
			return fail(err)
		}
	}
	return passthrough
}

// datagramWay is datagramRoute for a program's socket, which it prepares for that route.
func (u *udp) datagramWay(s *progSocket, dst netip.AddrPort,
	by holder) (kernel netip.AddrPort, ok bool, err error) {
	kernel, ok, err = u.datagramRoute(s, by, dst)
	if err != nil || s.domain != unix.AF_INET6 {
		at := localhostOf(dst.Addr())
		// Another socket may have had the port, and left a record.
		if ok && at.IsLoopback() && (at != localhost4 || !u.ports.empty()) {
			err = u.recordLocalPeer(s, at)
		}
		return kernel, ok, err
	}
	local, _, err := s.localName()
	if err != nil {
		return kernel, ok, err
	}
	_, alias := u.Aliases.role(local.Addr.Addr().Unmap())
	switch {
	case ok:
	case alias && isLocalhost(dst.Addr()) && dst.Addr().Is6():
		// The socket cannot reach the host's own ::1, and no program of the node is
		// there.
		kernel, ok = netip.AddrPortFrom(u.Aliases.Private6, dst.Port()), true
	default:
		return kernel, false, nil
	}
	if local.Addr.Port() == 0 {
		if err := u.bindHost(s,
			abi.Sockaddr{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), 0),
				V6: true}); err != nil {
			return kernel, false, err
		}
	}
	if isLocalhost(dst.Addr()) {
		err = u.recordLocalPeer(s, localhostOf(dst.Addr()))
	}
	return kernel, ok, err
}

// recordLocalPeer records the localhost address to which a UDP socket sends, because the
// socket's alias, or 127.0.0.1 if it has none, may not show it.
func (u *udp) recordLocalPeer(s *progSocket, localhost netip.Addr) error {
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	kernel := unmapped(local.Addr)
	if r, ok := u.Aliases.role(kernel.Addr()); !ok {
		kernel = netip.AddrPortFrom(localhost4, kernel.Port())
	} else if !u.own(r).IsUnspecified() {
		return nil
	}
	u.ports.recordPeer(addrPair{own: kernel}, localhost4, localhost)
	return nil
}
