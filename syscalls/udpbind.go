package syscalls

import (
	"errors"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// bind binds a UDP socket. A socket that is bound to port 0 keeps a port of the host on
// all addresses: it is mostly a client's, and may also send to the outside.
func (u *udp) bind(s *progSocket, want abi.Sockaddr) error {
	if u.pings.has(s) {
		return u.bindPing(s, want.Addr)
	}
	if want.Addr.Addr().Unmap().IsUnspecified() && want.Addr.Port() == 0 {
		return u.bindHost(s, want)
	}
	if err := u.binding(s).bind(want); err != nil {
		return err
	}
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	err = u.show(s)
	u.register(s, local)
	u.reconnectLocal(want.Addr.Port())
	return err
}

// bindHost binds a UDP socket to a port of the host.
func (u *udp) bindHost(s *progSocket, want abi.Sockaddr) error {
	only, err := s.v6only()
	if err != nil {
		return err
	}
	if only && want.Addr.Addr().Is6() && !want.Addr.Addr().Is4In6() {
		if err := s.mappable(); err != nil {
			return err
		}
	}
	if err := s.bindTo(want.Addr); err != nil {
		return err
	}
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	kernel := netip.AddrPortFrom(localhost4, local.Addr.Port())
	if !only {
		u.flows.bind(netip.IPv4Unspecified(), kernel)
	}
	if want.V6 && !want.Addr.Addr().Is4In6() {
		u.flows.bind(netip.IPv6Unspecified(), kernel)
	}
	return u.show(s)
}

// binding returns the binding of a UDP socket.
func (u *udp) binding(s *progSocket) binding {
	return binding{progSocket: s, core: u.core, ports: &u.ports, udp: u}
}

// heldByOwn is takenByOwn for a socket that serves the family of a wildcard.
func (u *udp) heldByOwn(s *progSocket, any netip.Addr, want netip.AddrPort) (bool, error) {
	kernel, ok := u.flows.boundAt(any, want.Port())
	if !ok || !u.stillThere(kernel) {
		return false, nil
	}
	// an address to which only a wildcard can be bound
	everywhere := netip.AddrPortFrom(u.Aliases.of(unused), want.Port())
	err := probe(unix.SOCK_DGRAM, s.fd, everywhere)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, errNoProbe) {
		return true, ignoreOthers(err)
	}
	if err = probe(unix.SOCK_DGRAM, s.fd, kernel); !errors.Is(err, unix.EADDRINUSE) {
		return false, ignoreOthers(err)
	}
	// It is connected, and has one address.
	if peer, ok := u.flows.connectedTo(kernel); ok {
		return want.Addr().IsUnspecified() || want.Addr() == u.addrFor(peer.Addr()), nil
	}
	return want.Addr().IsUnspecified() || want.Addr().IsLoopback(), nil
}

// hasPort reports whether the socket has a port.
func (s *progSocket) hasPort() bool {
	local, _, err := s.localName()
	return err == nil && local.Addr.Port() != 0
}

// register records the kernel address of a program's socket.
func (u *udp) register(s *progSocket, local abi.Sockaddr) {
	kernel, ok := u.reachedAt(s, local)
	if !ok {
		return
	}
	program := unmapped(u.local(local, abi.Sockaddr{}).Addr)
	for _, at := range u.servedAt(program, kernel) {
		u.listenFor(s, at, kernel, kernel != unmapped(local.Addr))
	}
}

// listenFor is Node.listenFor for a UDP socket.
func (u *udp) listenFor(s *progSocket, program, kernel netip.AddrPort, foreign bool) {
	if u.sockets.isDeaf() { // the kernel would not report its end
		u.ports.listen(program, kernel)
		return
	}
	if id, err := s.cookie(); err == nil {
		u.ports.listenOn(program, kernel, id, foreign)
	}
}
