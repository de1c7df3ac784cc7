package syscalls

import (
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// bind answers bind(2) for TCP and UDP: the program's address becomes the alias
// that stands for it.
func (n *Node) bind(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	domain, typ, err := kind(fd)
	if err != nil {
		return fail(err)
	}
	if domain == unix.AF_NETLINK && n.isNetlink(fd) {
		return n.bindNetlink(c, fd)
	}
	if !isInet(domain) || typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM ||
		!inOwnNamespace(fd) {
		return letThrough
	}
	if typ == unix.SOCK_DGRAM {
		if _, ok, err := isUDP(fd); err != nil || !ok {
			return letThrough
		}
	}
	want, err := readBindAddr(c, c.Ptr(1), c.Int(2), domain)
	if err == unix.EFAULT {
		return fail(err)
	}
	if err != nil || want.Six != (domain == unix.AF_INET6) {
		return letThrough // the kernel says what is wrong
	}
	if typ == unix.SOCK_DGRAM {
		return n.bindDatagram(fd, domain, want)
	}
	if err := n.permits(c, landlockBind, want.Addr.Port()); err != nil {
		return fail(err)
	}
	return n.bindTo(binding{fd, domain, typ, &n.ports}, want)
}

// bindDatagram binds a UDP socket. Bound to any port, it keeps a port of the
// host's own on all addresses: it is a client's, most likely, and may send to
// the outside as well.
func (n *Node) bindDatagram(fd, domain int, want abi.Sockaddr) reply {
	if n.pings.has(fd) {
		return fail(n.bindPing(fd, domain, want.Addr))
	}
	if want.Addr.Addr().Unmap().IsUnspecified() && want.Addr.Port() == 0 {
		return fail(n.bindHost(fd, domain, want))
	}
	if r := n.bindTo(binding{fd, domain, unix.SOCK_DGRAM, &n.datagramPorts},
		want); r.kind != replyValue {
		return r
	}
	local, _, err := localName(fd)
	if err != nil {
		return fail(err)
	}
	n.register(&n.datagramPorts, fd, local)
	err = n.show(fd)
	n.reconnectLocal(want.Addr.Port())
	return fail(err)
}

// bindHost binds a UDP socket to a port of the host's own.
func (n *Node) bindHost(fd, domain int, want abi.Sockaddr) error {
	only, err := v6only(fd, domain)
	if err != nil {
		return err
	}
	if only && want.Addr.Addr().Is6() && !want.Addr.Addr().Is4In6() {
		if err := mappable(fd, domain); err != nil {
			return err
		}
	}
	if err := bindTo(fd, domain, want.Addr); err != nil {
		return err
	}
	local, _, err := localName(fd)
	if err != nil {
		return err
	}
	kernel := netip.AddrPortFrom(localhost4, local.Addr.Port())
	if !only {
		n.flows.bind(netip.IPv4Unspecified(), kernel)
	}
	if want.Six && !want.Addr.Addr().Is4In6() {
		n.flows.bind(netip.IPv6Unspecified(), kernel)
	}
	return n.show(fd)
}

// A binding is a socket that is being bound: a copy of it, and the table of its
// protocol's ports.
type binding struct {
	fd, domain, typ int
	ports           *ports
}

func (n *Node) bindTo(s binding, want abi.Sockaddr) reply {
	only, err := v6only(s.fd, s.domain)
	if err != nil {
		return fail(err)
	}
	if a := unmapped(want.Addr); a.Addr().Is4() && a.Addr().IsLoopback() &&
		a.Addr() != localhost4 && !(want.Six && only) {
		if n.takenByOwn(s, want, only) {
			return s.inUse()
		}
		return n.bindLoopback(s, a)
	}
	r, other := n.roleFor(s.fd, want, only)
	if other.kind != replyValue {
		return other
	}
	port := want.Addr.Port()
	if port != 0 {
		if n.takenByOwn(s, want, only) {
			return s.inUse()
		}
		for _, rival := range r.rivals() {
			if n.taken(s, netip.AddrPortFrom(n.Aliases.of(rival), port)) {
				return s.inUse()
			}
		}
		if n.loopbackTaken(s, r, port) {
			return s.inUse()
		}
	}
	if only {
		if err := mappable(s.fd, s.domain); err != nil {
			return fail(err) // EINVAL: it is bound
		}
	}
	err = n.bindAlias(s, netip.AddrPortFrom(n.Aliases.of(r), port))
	if err != nil && only {
		linux.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return fail(err)
}

// mayBeForeign reports whether Linux binds a socket to an address that no
// interface has: broadcast and multicast ones, and any with IP_FREEBIND or
// IP_TRANSPARENT (ip(7), inet_addr_valid_or_nonlocal of include/net/inet_sock.h).
func mayBeForeign(fd int, addr netip.Addr) bool {
	if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	for _, opt := range []int{unix.IP_FREEBIND, unix.IP_TRANSPARENT} {
		if v, err := linux.GetsockoptInt(fd, unix.IPPROTO_IP, opt); err == nil && v != 0 {
			return true
		}
	}
	return false
}

// roleFor returns the role of the alias that stands for an address which a
// program wants; other is the answer if there is none. only tells of IPV6_V6ONLY.
func (n *Node) roleFor(fd int, want abi.Sockaddr, only bool) (r role, other reply) {
	switch a := want.Addr.Addr(); {
	case a.Is4In6() && only:
		return 0, fail(unix.EINVAL)
	case a == netip.IPv6Unspecified() && only:
		return wildcard6, reply{}
	case a == netip.IPv6Unspecified():
		return dual, reply{}
	case a == netip.IPv6Loopback():
		return private6, reply{}
	case a.IsValid() && a == n.Addr6:
		return public6, reply{}
	case a.IsLinkLocalUnicast() && a.Is6() && want.Scope == 0, a.IsMulticast() && a.Is6():
		return 0, letThrough // EINVAL, ipv6(7)
	case a.IsLinkLocalUnicast() && a.Is6() && !n.hasLink(want.Scope):
		return 0, fail(unix.ENODEV)
	}
	switch a := want.Addr.Addr().Unmap(); {
	case a.Is4() && a.IsUnspecified():
		return wildcard, reply{}
	case a == n.Addr:
		return public, reply{}
	case a == localhost4:
		return private, reply{}
	case mayBeForeign(fd, a):
		return 0, letThrough // nobody is there
	}
	return 0, fail(unix.EADDRNOTAVAIL)
}

// bindAlias binds to an alias, or to another port of it if the host refuses the
// one that the program wants.
func (n *Node) bindAlias(s binding, want netip.AddrPort) error {
	if _, ok := s.ports.movedTo(want); ok {
		return s.bindMoved(want)
	}
	if s.typ == unix.SOCK_DGRAM && want.Port() == 0 {
		return n.bindFree(s, want.Addr())
	}
	err := bindTo(s.fd, s.domain, want)
	switch {
	case err == nil:
		s.ports.forget(want)
		return nil
	case err == unix.EACCES && want.Port() != 0: // ip_unprivileged_port_start, ip(7)
	case err == unix.EADDRINUSE && n.takenByHost(s.typ, want.Port()):
	default:
		return err
	}
	return s.bindMoved(want)
}

// bindMoved binds to an ephemeral port of the alias that serves as the one that
// the program wants. Sockets with SO_REUSEPORT share it.
func (s binding) bindMoved(want netip.AddrPort) error {
	if kernel, ok := s.ports.movedTo(want); ok {
		switch err := bindTo(s.fd, s.domain, kernel); err {
		case nil, unix.EADDRINUSE, unix.EINVAL:
			return err
		}
	}
	if err := bindTo(s.fd, s.domain, netip.AddrPortFrom(want.Addr(), 0)); err != nil {
		return err
	}
	local, _, err := localName(s.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	s.ports.move(want, unmapped(local.Addr))
	return nil
}

// taken reports whether a socket with s's SO_REUSEADDR and SO_REUSEPORT could
// not be bound to an alias and port. The kernel judges by trying.
func (n *Node) taken(s binding, want netip.AddrPort) bool {
	if kernel, ok := s.ports.movedTo(want); ok {
		want = kernel
	}
	return probe(s.typ, s.fd, want) == unix.EADDRINUSE &&
		!n.takenByHost(s.typ, want.Port())
}

// takenByOwn reports whether a program's UDP socket that has a port of the host's own, on
// all addresses, keeps s from an address (bindHost). That port is not the host's for the
// node.
func (n *Node) takenByOwn(s binding, want abi.Sockaddr, only bool) bool {
	if s.typ != unix.SOCK_DGRAM {
		return false
	}
	a := unmapped(want.Addr)
	if n.heldByOwn(s.fd, wildcardOf(a.Addr()), a) {
		return true
	}
	return a.Addr() == netip.IPv6Unspecified() && !only &&
		n.heldByOwn(s.fd, netip.IPv4Unspecified(), a)
}

// heldByOwn is takenByOwn for a socket that serves the family of a wildcard.
func (n *Node) heldByOwn(fd int, any netip.Addr, want netip.AddrPort) bool {
	kernel, ok := n.flows.boundAt(any, want.Port())
	if !ok || !n.stillThere(kernel) {
		return false
	}
	// where only a wildcard can be
	everywhere := netip.AddrPortFrom(n.Aliases.of(unused), want.Port())
	switch {
	case probe(unix.SOCK_DGRAM, fd, everywhere) == unix.EADDRINUSE:
		return true
	case probe(unix.SOCK_DGRAM, fd, kernel) != unix.EADDRINUSE:
		return false
	}
	// It is connected, and has one address.
	if peer, ok := n.flows.connectedTo(kernel); ok {
		return want.Addr().IsUnspecified() || want.Addr() == n.addrFor(peer.Addr())
	}
	return want.Addr().IsUnspecified() || want.Addr().IsLoopback()
}

// bindFree binds a UDP socket to an alias and a port of the kernel's choice that no other
// socket of the node has: one that is connected is at 127.0.0.1, whatever its program
// sees.
func (n *Node) bindFree(s binding, alias netip.Addr) error {
	for range bindFlowTries {
		if err := bindTo(s.fd, s.domain, netip.AddrPortFrom(alias, 0)); err != nil {
			return err
		}
		local, _, err := localName(s.fd)
		if err != nil {
			return err
		}
		kernel, ok := n.flows.boundAt(netip.IPv4Unspecified(), local.Addr.Port())
		if !ok {
			kernel, ok = n.flows.boundAt(netip.IPv6Unspecified(), local.Addr.Port())
		}
		if !ok || !n.stillThere(kernel) {
			s.ports.forget(unmapped(local.Addr))
			return nil
		}
		if err := linux.Disconnect(s.fd); err != nil { // it has no port then
			return err
		}
	}
	return unix.EADDRINUSE
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
	for _, a := range []netip.Addr{n.Aliases.Wildcard, n.Aliases.Public,
		n.Aliases.Private} {
		if probe(typ, -1, netip.AddrPortFrom(a, port)) != unix.EADDRINUSE {
			return false
		}
	}
	return true
}

// probe tries to bind a socket of its own to addr, of the given type, with the
// reuse options of like, or with none if like is negative.
func probe(typ, like int, addr netip.AddrPort) error {
	fd, err := linux.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer linux.Close(fd)
	if like >= 0 {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if v, err := linux.GetsockoptInt(like, unix.SOL_SOCKET, opt); err == nil && v != 0 {
				linux.SetsockoptInt(fd, unix.SOL_SOCKET, opt, v)
			}
		}
	}
	return bindTo(fd, unix.AF_INET, addr)
}

// listen answers listen(2): the kernel listens, and the node remembers where.
func (n *Node) listen(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	domain, typ, err := kind(fd)
	if err != nil {
		return fail(err)
	}
	if !isInet(domain) || typ != unix.SOCK_STREAM || !inOwnNamespace(fd) {
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
		want := abi.Sockaddr{Addr: netip.AddrPortFrom(any, 0), Six: domain == unix.AF_INET6}
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
func (n *Node) register(p *ports, fd int, local abi.Sockaddr) {
	kernel, ok := n.reachedAt(fd, local)
	if !ok {
		return
	}
	program := unmapped(n.localIn(p, local, abi.Sockaddr{}).Addr)
	n.listenFor(p, fd, program, kernel, kernel != unmapped(local.Addr))
	if kernel.Addr() == n.Aliases.Dual {
		four := netip.AddrPortFrom(netip.IPv4Unspecified(), program.Port())
		n.listenFor(p, fd, four, kernel, kernel != unmapped(local.Addr))
	}
	if p == &n.ports {
		n.announce(program, kernel)
	}
}

// listenFor notes that the socket fd is the node's at a kernel address for what the
// program knows as another. foreign says that it was made outside of the node.
func (n *Node) listenFor(p *ports, fd int, program, kernel netip.AddrPort, foreign bool) {
	if p != &n.ports {
		p.listen(program, kernel)
		return
	}
	if id, err := cookie(fd); err == nil {
		p.listenOn(program, kernel, id, foreign)
	}
}
