package syscalls

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// highFD is where UDP sockets get their descriptors: the filter traps the calls
// whose address lies behind a pointer (sendmsg, recvmsg) only from there on, so
// that they cost TCP sockets nothing. It is below 1,024 for select(2).
const highFD = 768

// socket answers socket(2) for UDP and for NETLINK_ROUTE: the supervisor makes
// the socket and gives it a high number.
func (n *Node) socket(c Call) reply {
	if c.Int(0) == unix.AF_NETLINK {
		return n.netlinkSocket(c)
	}
	if isPing(c.Int(0), c.Int(1), c.Int(2)) && n.Datagrams != nil {
		return n.pingSocket(c)
	}
	if p := c.Int(2); p != 0 && p != unix.IPPROTO_UDP {
		return letThrough // UDP-Lite, or wrong
	}
	return highSocket(c.Int(0), c.Int(1), c.Int(2))
}

// highSocket makes a socket for a program, to get a high number.
func highSocket(domain, typ, proto int) reply {
	fd, err := socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return fail(err)
	}
	r := descriptor(fd, typ&unix.SOCK_CLOEXEC != 0, func() { closeFD(fd) })
	r.from = highFD
	return r
}

// dup answers dup(2) on a descriptor of the high range: the copy of a UDP socket
// has to be there, too.
func (n *Node) dup(c Call) reply { return n.duplicate(c, 0, false) }

// fcntlDup answers fcntl(2) with F_DUPFD and F_DUPFD_CLOEXEC there.
func (n *Node) fcntlDup(c Call) reply {
	return n.duplicate(c, c.Int(2), c.Int(1) == unix.F_DUPFD_CLOEXEC)
}

func (n *Node) duplicate(c Call, from int, cloexec bool) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	if _, ok, err := isUDP(fd); err != nil || !ok && !n.isNetlink(fd) || from < 0 {
		closeFD(fd)
		return letThrough
	}
	r := descriptor(fd, cloexec, func() { closeFD(fd) })
	r.from, r.orKernel = max(from, highFD), from > highFD
	return r
}

// isUDP reports whether a copied descriptor is a UDP socket of ours to handle.
func isUDP(fd int) (domain int, ok bool, err error) {
	domain, err = getsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || !isInet(domain) {
		return domain, false, err
	}
	proto, err := getsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || proto != unix.IPPROTO_UDP {
		return domain, false, err
	}
	typ, err := getsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE) // SOCK_RAW may have it as well
	return domain, typ == unix.SOCK_DGRAM, err
}

// connectDatagram answers connect(2) on a UDP socket.
func (n *Node) connectDatagram(c Call, fd, domain int, dst netip.AddrPort) reply {
	if n.pings.has(fd) {
		return fail(n.connectPing(c, fd, domain, dst.Addr()))
	}
	kernel, ok, err := n.datagramWay(fd, domain, dst, holderOf(c))
	if err != nil {
		return fail(err)
	}
	if ok {
		return fail(connectTo(fd, domain, kernel))
	}
	// To the outside after a connect to the network: the kernel keeps the source
	// address of the first, and loopback's leads nowhere.
	if local, ok, err := localName(fd); err == nil && ok && local.Addr.Addr().Unmap() == localhost4 {
		if err := disconnect(fd); err != nil {
			return fail(err)
		}
	}
	return letThrough
}

// datagramWay is datagramRoute for a program's socket, which it prepares for the way.
func (n *Node) datagramWay(fd, domain int, dst netip.AddrPort, by holder) (kernel netip.AddrPort, ok bool, err error) {
	kernel, ok, err = n.datagramRoute(fd, by, dst)
	if err != nil || domain != unix.AF_INET6 {
		if ok && isLocalhost(dst.Addr()) && !n.datagramPorts.empty() {
			err = n.meetLocal(fd, localhost4) // the port may have been another's
		}
		return kernel, ok, err
	}
	local, _, err := localName(fd)
	if err != nil {
		return kernel, ok, err
	}
	_, alias := n.Aliases.role(local.Addr.Addr().Unmap())
	switch {
	case ok:
	case alias && isLocalhost(dst.Addr()) && dst.Addr().Is6():
		// It cannot reach the host's own ::1, and nobody of the node is there.
		kernel, ok = netip.AddrPortFrom(n.Aliases.Private6, dst.Port()), true
	default:
		return kernel, false, nil
	}
	if local.Addr.Port() == 0 {
		if err := n.bindHost(fd, domain, Sockaddr{Addr: netip.AddrPortFrom(netip.IPv6Unspecified(), 0), Six: true}); err != nil {
			return kernel, false, err
		}
	}
	if isLocalhost(dst.Addr()) {
		met := localhost4
		if dst.Addr().Is6() {
			met = netip.IPv6Loopback()
		}
		err = n.meetLocal(fd, met)
	}
	return kernel, ok, err
}

// meetLocal notes that a UDP socket sends to a localhost address: its alias, or
// 127.0.0.1 where it has none, may not tell to which.
func (n *Node) meetLocal(fd int, met netip.Addr) error {
	local, _, err := localName(fd)
	if err != nil {
		return err
	}
	kernel := unmapped(local.Addr)
	if r, ok := n.Aliases.role(kernel.Addr()); !ok {
		kernel = netip.AddrPortFrom(localhost4, kernel.Port())
	} else if !n.own(r).IsUnspecified() {
		return nil
	}
	n.datagramPorts.addSelf(kernel, localhost4, met)
	return nil
}

// rawConnect is connect(2) with an address that package unix cannot express.
func rawConnect(fd int, sa *unix.RawSockaddr) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(sa)), unsafe.Sizeof(*sa))
	if errno != 0 {
		return errno
	}
	return nil
}
