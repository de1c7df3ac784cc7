package syscalls

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// connectFrom runs connect, which connects a socket on loopback, with an alias as the
// source of a socket that has none. As for a program's own connect, the kernel chooses
// the port when it knows the destination: so one port serves several destinations, and
// a node has as many connections to each as the range of ports has ports.
func (s *progSocket) connectFrom(alias netip.Addr, connect func() error) error {
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	if local.Addr.Port() != 0 {
		return connect()
	}
	if err := s.bindAddress(alias); err != nil {
		return fmt.Errorf("bind to %v: %w", alias, err)
	}
	if err = connect(); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	// The kernel then leaves out all ports that a socket of the host was bound to, at
	// whatever address (__inet_hash_connect in net/ipv4/inet_hashtables.c). bind(2)
	// leaves out only those that are bound at the alias.
	if s.bindTo(netip.AddrPortFrom(alias, 0)) != nil {
		return err
	}
	return connect()
}

// bindAddress binds a socket to an alias and leaves the port to connect(2)
// (IP_BIND_ADDRESS_NO_PORT, ip(7)).
func (s *progSocket) bindAddress(alias netip.Addr) error {
	if err := s.mappable(); err != nil {
		return err
	}
	own, err := linux.GetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT)
	if err != nil {
		return err
	}
	if own == 0 {
		if err := linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT,
			1); err != nil {
			return err
		}
		defer linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0)
	}
	return s.bindTo(netip.AddrPortFrom(alias, 0))
}
