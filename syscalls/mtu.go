package syscalls

import (
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// The path to another node has the MTU of the node's interface. For the kernel it is
// loopback's MTU, which is larger.

// mtu answers getsockopt(2) with IP_MTU (ip(7)) and IPV6_MTU (ipv6(7)) for a UDP socket
// that is connected to another node.
func (u *udp) mtu(c Call) reply {
	return onSocket(c, func(s *progSocket) reply { return u.mtuOf(c, s) })
}

func (u *udp) mtuOf(c Call, s *progSocket) reply {
	if ok, err := s.isUDP(); err != nil || !ok {
		return passthrough
	}
	far, ok, err := s.peerName()
	if err != nil || !ok {
		return passthrough
	}
	peer, ok := u.flows.peerOf(unmapped(far.Addr))
	if !ok || !u.crosses(peer.Addr()) ||
		peer.Addr().Is6() != (c.Int(1) == unix.IPPROTO_IPV6) {
		return passthrough
	}
	return fail(writeIntOption(c, netif.MTU))
}

// crosses reports whether traffic to an address leaves the node through its interface.
func (c *Config) crosses(a netip.Addr) bool { return c.inNetwork(a) && !c.Owns(a) }

// Sizes of headers in bytes: IPv4 without options, IPv6, UDP (RFC 791, RFC 8200, RFC
// 768).
const (
	sizeofIPv4 = 20
	sizeofIPv6 = 40
	sizeofUDP  = 8
)

// unfragmented wraps the payload of a datagram to dst. It fails with EMSGSIZE if the
// datagram is larger than a packet and the socket forbids fragments (IP_MTU_DISCOVER,
// ip(7)).
func (u *udp) unfragmented(s *progSocket, dst netip.Addr, p payload) payload {
	if !u.crosses(dst) {
		return p
	}
	most := netif.MTU - sizeofUDP - sizeofIPv4
	level, opt := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if dst.Is6() {
		most = netif.MTU - sizeofUDP - sizeofIPv6
		level, opt = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	return func(b []byte) (int, error) {
		size, err := p(b)
		if err != nil || size <= most {
			return size, err
		}
		switch v, err := linux.GetsockoptInt(s.fd, level, opt); {
		case err != nil:
			return 0, err
		case v == unix.IP_PMTUDISC_DO, v == unix.IP_PMTUDISC_PROBE:
			return 0, unix.EMSGSIZE
		}
		return size, nil
	}
}
