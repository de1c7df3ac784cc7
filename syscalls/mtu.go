package syscalls

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// The path to another node has the MTU of the node's interface. For the kernel it is
// loopback's MTU, which is larger.

// mtu answers getsockopt(2) with IP_MTU (ip(7)) and IPV6_MTU (ipv6(7)) for a socket that
// is connected by way of the node's interface.
func (n *Node) mtu(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		domain, _, err := s.kind()
		if err != nil || domain != unix.AF_INET6 && c.Int(1) == unix.IPPROTO_IPV6 {
			return passthrough
		}
		if udp, err := s.isUDP(); err != nil || !udp && !s.isTCP() {
			return passthrough
		}
		if peer, ok := n.farPeer(s); !ok || n.Owns(peer) || peer.IsLoopback() {
			return passthrough
		}
		return fail(writeIntOption(c, netif.MTU))
	})
}

// farPeer returns the address of a connected socket's peer as the program knows it, if
// the node carries what the two send each other.
func (n *Node) farPeer(s *progSocket) (netip.Addr, bool) {
	far, ok, err := s.peerName()
	if err != nil || !ok || !far.Addr.Addr().Unmap().IsLoopback() {
		return netip.Addr{}, false
	}
	local, _, err := s.localName()
	if err != nil {
		return netip.Addr{}, false
	}
	peer, ok := n.protocolOf(s).remote(local, far)
	return peer.Addr.Addr().Unmap(), ok
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

// discoverPaths answers setsockopt(2) with IP_MTU_DISCOVER and IPV6_MTU_DISCOVER. The
// kernel sets them. From the first socket on whose datagrams must not be cut, the node
// looks at messages that it otherwise leaves to the kernel.
func (n *Node) discoverPaths(c Call) reply {
	var b [4]byte
	if c.ReadMemory(c.Ptr(3), b[:]) == nil &&
		isUncut(int(binary.NativeEndian.Uint32(b[:]))) {
		n.udp.uncut.Store(true)
		n.netlinks.lookAgain()
	}
	return passthrough
}

// isUncut reports whether datagrams of a socket with a value of IP_MTU_DISCOVER must not
// be larger than a packet. IPV6_MTU_DISCOVER has the same values.
func isUncut(v int) bool {
	return v == unix.IP_PMTUDISC_DO ||
		v == unix.IP_PMTUDISC_PROBE
}

// unfragmented wraps the payload of a datagram to dst with control messages. It fails
// with EMSGSIZE if the datagram is larger than a packet and the socket forbids fragments
// (IP_MTU_DISCOVER, ip(7)).
func (u *udp) unfragmented(s *progSocket, dst netip.Addr, control []byte,
	p payload) payload {
	if !u.crosses(dst) {
		return p
	}
	return func(b []byte) (int, error) {
		size, err := p(b)
		if err == nil && s.tooLarge(dst, control, size) {
			err = unix.EMSGSIZE
		}
		return size, err
	}
}

// tooLarge reports whether a datagram that the socket sends to another node is larger
// than a packet, and must not be cut (IP_MTU_DISCOVER, ip(7)).
func (s *progSocket) tooLarge(dst netip.Addr, control []byte, size int) bool {
	most := netif.MTU - sizeofUDP - sizeofIPv4
	if dst.Is6() {
		most = netif.MTU - sizeofUDP - sizeofIPv6
	}
	return size > most && s.segmentSize(control, size) > most && s.isUncut(dst)
}

// isUncut reports whether what the socket sends to an address must not be cut.
func (s *progSocket) isUncut(dst netip.Addr) bool {
	level, opt := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if dst.Is6() {
		level, opt = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	v, err := linux.GetsockoptInt(s.fd, level, opt)
	return err == nil && isUncut(v)
}

// segmentSize returns the size of the datagrams that the kernel makes of what the socket
// sends with control messages (UDP_SEGMENT, udp(7)), or size.
func (s *progSocket) segmentSize(control []byte, size int) int {
	for m := range abi.ControlMessages(control) {
		if m.Level == unix.IPPROTO_UDP && m.Type == unix.UDP_SEGMENT && len(m.Data) == 2 {
			return int(binary.NativeEndian.Uint16(m.Data))
		}
	}
	if v, err := linux.GetsockoptInt(s.fd, unix.IPPROTO_UDP,
		unix.UDP_SEGMENT); err == nil && v > 0 {
		return v
	}
	return size
}
