package syscalls

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// bind answers bind(2) for TCP and UDP: the program's address becomes the alias
// that stands for it.
func (n *Node) bind(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	domain, typ, err := kind(fd)
	if err != nil {
		return fail(err)
	}
	if domain == unix.AF_NETLINK && n.isNetlink(fd) {
		return n.bindNetlink(c, fd)
	}
	if !isInet(domain) || typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM {
		return letThrough
	}
	if typ == unix.SOCK_DGRAM {
		if _, ok, err := isUDP(fd); err != nil || !ok {
			return letThrough
		}
	}
	want, err := readSockaddr(c, c.Ptr(1), c.Int(2))
	if err == unix.EFAULT {
		return fail(err)
	}
	if err != nil || want.Six != (domain == unix.AF_INET6) {
		return letThrough // the kernel says what is wrong
	}
	if typ == unix.SOCK_DGRAM {
		return n.bindDatagram(fd, domain, want)
	}
	return n.bindTo(binding{fd, domain, typ, &n.ports}, want)
}

// bindDatagram binds a UDP socket. Bound to any port, it keeps a port of the
// host's own on all addresses: it is a client's, most likely, and may send to
// the outside as well.
func (n *Node) bindDatagram(fd, domain int, want Sockaddr) reply {
	if n.pings.has(fd) {
		return fail(n.bindPing(fd, domain, want.Addr))
	}
	if want.Addr.Addr().Unmap().IsUnspecified() && want.Addr.Port() == 0 {
		if err := unix.Bind(fd, kernelSockaddr(domain, want.Addr)); err != nil {
			return fail(err)
		}
		if local, _, err := localName(fd); err == nil {
			n.flows.bind(netip.AddrPortFrom(localhost4, local.Addr.Port()))
		}
		return reply{}
	}
	if r := n.bindTo(binding{fd, domain, unix.SOCK_DGRAM, &n.datagramPorts}, want); r.kind != replyValue {
		return r
	}
	local, _, err := localName(fd)
	if err != nil {
		return fail(err)
	}
	n.register(&n.datagramPorts, fd, local)
	return reply{}
}

// A binding is a socket that is being bound: a copy of it, and the table of its
// protocol's ports.
type binding struct {
	fd, domain, typ int
	ports           *ports
}

func (n *Node) bindTo(s binding, want Sockaddr) reply {
	addr := want.Addr.Addr()
	port := want.Addr.Port()
	if want.Six && !addr.Is4In6() {
		if !addr.IsUnspecified() && !addr.IsLoopback() {
			return fail(unix.EADDRNOTAVAIL)
		}
		only, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return fail(err)
		}
		if only != 0 || addr.IsLoopback() {
			return fail(s.bindMoved(want.Addr, netip.IPv6Loopback()))
		}
		addr = netip.IPv4Unspecified() // dual-stack: what comes in is IPv4
	}
	addr = addr.Unmap()
	var alias netip.Addr
	var rivals []netip.Addr // what Linux does not let share the port with it
	switch {
	case addr.IsUnspecified():
		alias, rivals = n.Aliases.Wildcard, []netip.Addr{n.Addr, localhost4}
	case addr == n.Addr:
		alias, rivals = n.Aliases.Public, []netip.Addr{netip.IPv4Unspecified()}
	case addr == localhost4:
		alias, rivals = n.Aliases.Private, []netip.Addr{netip.IPv4Unspecified()}
	case addr.IsLoopback():
		return letThrough // 127.0.0.2 and the like are the host's
	case mayBeForeign(s.fd, addr):
		return letThrough // nobody is there
	default:
		return fail(unix.EADDRNOTAVAIL)
	}
	for _, r := range rivals {
		if port != 0 && n.taken(s, netip.AddrPortFrom(r, port)) {
			if bound(s.fd) { // perhaps by this very socket
				return fail(unix.EINVAL)
			}
			return fail(unix.EADDRINUSE)
		}
	}
	return fail(n.bindAlias(s, netip.AddrPortFrom(addr, port), alias))
}

// mayBeForeign reports whether Linux binds a socket to an address that no
// interface has: broadcast and multicast ones, and any with IP_FREEBIND or
// IP_TRANSPARENT (ip(7), inet_addr_valid_or_nonlocal of include/net/inet_sock.h).
func mayBeForeign(fd int, addr netip.Addr) bool {
	if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	for _, opt := range []int{unix.IP_FREEBIND, unix.IP_TRANSPARENT} {
		if v, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, opt); err == nil && v != 0 {
			return true
		}
	}
	return false
}

// bindAlias binds to the alias's own port, or to another one if the host
// refuses that.
func (n *Node) bindAlias(s binding, program netip.AddrPort, alias netip.Addr) error {
	kernel := netip.AddrPortFrom(alias, program.Port())
	if _, ok := s.ports.movedTo(program); ok {
		return s.bindMoved(program, alias)
	}
	err := unix.Bind(s.fd, kernelSockaddr(s.domain, kernel))
	switch {
	case err == nil:
		s.ports.forget(kernel)
		return nil
	case err == unix.EACCES && program.Port() != 0: // ip_unprivileged_port_start, ip(7)
	case err == unix.EADDRINUSE && n.takenByHost(s.typ, program.Port()):
	default:
		return err
	}
	return s.bindMoved(program, alias)
}

// bindMoved binds to an ephemeral port of the alias that serves as the
// program's port. Sockets with SO_REUSEPORT share it.
func (s binding) bindMoved(program netip.AddrPort, alias netip.Addr) error {
	if kernel, ok := s.ports.movedTo(program); ok && program.Port() != 0 {
		switch err := unix.Bind(s.fd, kernelSockaddr(s.domain, kernel)); err {
		case nil, unix.EADDRINUSE, unix.EINVAL:
			return err
		}
	}
	if err := unix.Bind(s.fd, kernelSockaddr(s.domain, netip.AddrPortFrom(alias, 0))); err != nil {
		return err
	}
	local, _, err := localName(s.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	kernel := netip.AddrPortFrom(local.Addr.Addr().Unmap(), local.Addr.Port())
	if program.Port() == 0 {
		program = netip.AddrPortFrom(program.Addr(), kernel.Port())
	}
	s.ports.move(program, kernel)
	return nil
}

// taken reports whether a socket with s's SO_REUSEADDR and SO_REUSEPORT could
// not be bound to a program's address. The kernel judges by trying.
func (n *Node) taken(s binding, program netip.AddrPort) bool {
	if kernel, ok := s.ports.movedTo(program); ok {
		return probe(s.typ, s.fd, kernel) == unix.EADDRINUSE
	}
	kernel := netip.AddrPortFrom(n.alias(program.Addr()), program.Port())
	return probe(s.typ, s.fd, kernel) == unix.EADDRINUSE && !n.takenByHost(s.typ, program.Port())
}

// bound reports whether the socket has a port.
func bound(fd int) bool {
	local, _, err := localName(fd)
	return err == nil && local.Addr.Port() != 0
}

// takenByHost reports whether a socket of the host has the port on every
// address: then all of the node's aliases are taken, which its own sockets
// never are, since they exclude each other.
func (n *Node) takenByHost(typ int, port uint16) bool {
	for _, a := range []netip.Addr{n.Aliases.Wildcard, n.Aliases.Public, n.Aliases.Private} {
		if probe(typ, -1, netip.AddrPortFrom(a, port)) != unix.EADDRINUSE {
			return false
		}
	}
	return true
}

// alias is where a program's own address is served.
func (n *Node) alias(program netip.Addr) netip.Addr {
	switch {
	case program.IsUnspecified():
		return n.Aliases.Wildcard
	case program == localhost4:
		return n.Aliases.Private
	}
	return n.Aliases.Public
}

// probe tries to bind a socket of its own to addr, of the given type, with the
// reuse options of like, or with none if like is negative.
func probe(typ, like int, addr netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if like >= 0 {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if v, err := unix.GetsockoptInt(like, unix.SOL_SOCKET, opt); err == nil && v != 0 {
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, v)
			}
		}
	}
	return unix.Bind(fd, kernelSockaddr(unix.AF_INET, addr))
}

// listen answers listen(2): the kernel listens, and the node remembers where.
func (n *Node) listen(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	domain, typ, err := kind(fd)
	if err != nil {
		return fail(err)
	}
	if !isInet(domain) || typ != unix.SOCK_STREAM {
		return letThrough
	}
	local, _, err := localName(fd)
	if err != nil {
		return fail(err)
	}
	if local.Addr.Port() == 0 { // listen(2) on an unbound socket picks a port
		any := netip.IPv4Unspecified()
		if domain == unix.AF_INET6 {
			any = netip.IPv6Unspecified()
		}
		want := Sockaddr{Addr: netip.AddrPortFrom(any, 0), Six: domain == unix.AF_INET6}
		if r := n.bindTo(binding{fd, domain, typ, &n.ports}, want); r.kind != replyValue {
			return r
		}
		if local, _, err = localName(fd); err != nil {
			return fail(err)
		}
	}
	if err := unix.Listen(fd, c.Int(1)); err != nil {
		return fail(err)
	}
	n.register(&n.ports, fd, local)
	return reply{}
}

// register remembers where the program's socket with the kernel address local
// is to be found.
func (n *Node) register(p *ports, fd int, local Sockaddr) {
	kernel := n.reachedAt(fd, local)
	program := n.localIn(p, local, Sockaddr{}).Addr
	p.listen(netip.AddrPortFrom(program.Addr().Unmap(), program.Port()), kernel)
	if program.Addr() == netip.IPv6Unspecified() && kernel.Addr().Is4() { // dual-stack
		p.listen(netip.AddrPortFrom(netip.IPv4Unspecified(), program.Port()), kernel)
	}
}
