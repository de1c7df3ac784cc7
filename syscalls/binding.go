package syscalls

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A binding is a bind(2) of a socket, with the ports of the socket's protocol.
type binding struct {
	*progSocket
	*core
	ports *ports
	udp   *udp // nil: TCP
}

// bind binds a socket to the address that a program wants.
func (b binding) bind(want abi.Sockaddr) error {
	only, err := b.v6only()
	if err != nil {
		return err
	}
	if a := unmapped(want.Addr); a.Addr().Is4() && a.Addr().IsLoopback() &&
		a.Addr() != localhost4 && !(want.V6 && only) {
		if taken, err := b.takenByOwn(want, only); err != nil || taken {
			return b.inUse(err)
		}
		return b.bindLoopback(a)
	}
	r, err := b.roleFor(want, only)
	if err != nil {
		return err
	}
	if want.Addr.Port() != 0 {
		if taken, err := b.takenByRival(r, want, only); err != nil || taken {
			return b.inUse(err)
		}
	}
	if only {
		if err := b.mappable(); err != nil {
			return err // EINVAL: the socket is bound already
		}
	}
	if want.Addr.Port() == 0 {
		err = b.bindFree(r, want, only)
	} else {
		err = b.bindAlias(netip.AddrPortFrom(b.Aliases.of(r), want.Addr.Port()))
	}
	if err != nil && only {
		linux.SetsockoptInt(b.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return err
}

// takenByRival reports whether a socket at a rival address of role r already has the
// wanted port. The kernel does not know that the aliases of wildcards represent all
// addresses.
func (b binding) takenByRival(r role, want abi.Sockaddr, only bool) (bool, error) {
	if taken, err := b.takenByOwn(want, only); err != nil || taken {
		return taken, err
	}
	for _, rival := range r.rivals() {
		at := netip.AddrPortFrom(b.Aliases.of(rival), want.Addr.Port())
		if taken, err := b.taken(at); err != nil || taken {
			return taken, err
		}
	}
	return b.loopbackTaken(r, want.Addr.Port())
}

// bindFree binds to a port that the kernel chooses at the alias of role r. If a rival has
// that port, it lets the kernel choose again. Binding to a port by its number would keep
// the port for the socket even after a failed connect (SOCK_BINDPORT_LOCK in
// net/ipv4/inet_connection_sock.c).
func (b binding) bindFree(r role, want abi.Sockaddr, only bool) error {
	for range bindFreeTries {
		if err := b.bindTo(netip.AddrPortFrom(b.Aliases.of(r), 0)); err != nil {
			return err
		}
		local, _, err := b.localName()
		if err != nil {
			return fmt.Errorf("getsockname: %w", err)
		}
		at := unmapped(local.Addr)
		if at.Port() == 0 { // connect(2) chooses (IP_BIND_ADDRESS_NO_PORT, ip(7))
			return nil
		}
		chosen := abi.Sockaddr{Addr: netip.AddrPortFrom(want.Addr.Addr(), at.Port()),
			V6: want.V6}
		taken, err := b.chosenTaken(r, chosen, only)
		if err == nil && !taken {
			b.ports.forget(at)
			return nil
		}
		if e := b.unbind(); e != nil {
			return fmt.Errorf("give port %d up: %w", at.Port(), e)
		}
		if err != nil {
			return err
		}
	}
	return unix.EADDRINUSE
}

// bindFreeTries bounds how often the kernel chooses a port. Each choice is random.
const bindFreeTries = 100

// chosenTaken reports whether another socket of the node has the port that the kernel has
// chosen.
func (b binding) chosenTaken(r role, chosen abi.Sockaddr, only bool) (bool, error) {
	port := chosen.Addr.Port()
	if b.udp != nil { // a connected socket is at 127.0.0.1
		for _, any := range []netip.Addr{netip.IPv4Unspecified(),
			netip.IPv6Unspecified()} {
			if kernel, ok := b.udp.flows.boundAt(any, port); ok &&
				b.udp.stillThere(kernel) {
				return true, nil
			}
		}
	}
	if moved, ok := b.ports.movedTo(netip.AddrPortFrom(b.Aliases.of(r), port)); ok {
		if err := probe(b.typ, b.fd, moved); err != nil {
			return errors.Is(err, unix.EADDRINUSE), ignoreOthers(err)
		}
	}
	return b.takenByRival(r, chosen, only)
}

// unbind releases a port that the kernel has chosen. The kernel keeps the port of a bound
// TCP socket, but not after the socket has listened (tcp_set_state in net/ipv4/tcp.c).
func (s *progSocket) unbind() error {
	s.renamed()
	if s.typ == unix.SOCK_STREAM {
		if err := unix.Listen(s.fd, 0); err != nil {
			return err
		}
	}
	return s.disconnect()
}

// mayBeForeign reports whether Linux binds a socket to an address that no interface has:
// broadcast and multicast addresses, and any address with IP_FREEBIND or IP_TRANSPARENT
// (ip(7), inet_addr_valid_or_nonlocal of include/net/inet_sock.h).
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

// roleFor returns the role of the alias for an address that a program wants. only is the
// socket's IPV6_V6ONLY.
func (b binding) roleFor(want abi.Sockaddr, only bool) (role, error) {
	switch a := want.Addr.Addr(); {
	case a.Is4In6() && only:
		return 0, unix.EINVAL
	case a == netip.IPv6Unspecified() && only:
		return wildcard6, nil
	case a == netip.IPv6Unspecified():
		return dual, nil
	case a == netip.IPv6Loopback():
		return private6, nil
	case a.IsValid() && a == b.Addr6:
		return public6, nil
	case a.IsLinkLocalUnicast() && a.Is6() && want.Scope == 0, a.IsMulticast() && a.Is6():
		return 0, errLeftToKernel // EINVAL, ipv6(7)
	case a.IsLinkLocalUnicast() && a.Is6() && !b.hasLink(want.Scope):
		return 0, unix.ENODEV
	}
	switch a := want.Addr.Addr().Unmap(); {
	case a.Is4() && a.IsUnspecified():
		return wildcard, nil
	case a == b.Addr:
		return public, nil
	case a == localhost4:
		return private, nil
	case mayBeForeign(b.fd, a):
		return 0, errLeftToKernel // no interface has the address
	}
	return 0, unix.EADDRNOTAVAIL
}

// bindAlias binds to an alias. If the host refuses the wanted port, it binds to another
// port of the alias.
func (b binding) bindAlias(want netip.AddrPort) error {
	if _, ok := b.ports.movedTo(want); ok {
		return b.bindMoved(want)
	}
	err := b.bindTo(want)
	switch {
	case err == nil:
		b.ports.forget(want)
		return nil
	case errors.Is(err, unix.EACCES): // ip_unprivileged_port_start, ip(7)
		return b.bindMoved(want)
	case !errors.Is(err, unix.EADDRINUSE):
		return err
	}
	switch host, unknown := b.takenByHost(want.Port()); {
	case unknown != nil:
		return unknown
	case !host:
		return err
	}
	return b.bindMoved(want)
}

// bindMoved binds to an ephemeral port of the alias that stands for the wanted port.
// Sockets with SO_REUSEPORT share it.
func (b binding) bindMoved(want netip.AddrPort) error {
	if kernel, ok := b.ports.movedTo(want); ok {
		err := b.bindTo(kernel)
		if err == nil || errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	if err := b.bindTo(netip.AddrPortFrom(want.Addr(), 0)); err != nil {
		return err
	}
	local, _, err := b.localName()
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	b.ports.move(want, unmapped(local.Addr))
	return nil
}

// taken reports whether the kernel would refuse to bind a socket with b's SO_REUSEADDR
// and SO_REUSEPORT to an alias and port. It tries to bind one.
func (b binding) taken(want netip.AddrPort) (bool, error) {
	if kernel, ok := b.ports.movedTo(want); ok {
		want = kernel
	}
	err := probe(b.typ, b.fd, want)
	if !errors.Is(err, unix.EADDRINUSE) {
		return false, ignoreOthers(err)
	}
	host, err := b.takenByHost(want.Port())
	return !host, err
}

// inUse returns the errno for a bind with a conflict: EADDRINUSE, or EINVAL if the socket
// is bound already. It returns err if the cause is not known.
func (b binding) inUse(err error) error {
	if err != nil {
		return err
	}
	if local, _, err := b.localName(); err == nil && local.Addr.Port() != 0 {
		return unix.EINVAL
	}
	return unix.EADDRINUSE
}

// takenByOwn reports whether a UDP socket of a program has the wanted port as a port of
// the host, on all addresses (bindHost). For the node, that port is the program's, not
// the host's.
func (b binding) takenByOwn(want abi.Sockaddr, only bool) (bool, error) {
	if b.udp == nil {
		return false, nil
	}
	a := unmapped(want.Addr)
	taken, err := b.udp.heldByOwn(b.progSocket, wildcardOf(a.Addr()), a)
	if err == nil && !taken && a.Addr() == netip.IPv6Unspecified() && !only {
		return b.udp.heldByOwn(b.progSocket, netip.IPv4Unspecified(), a)
	}
	return taken, err
}
