package syscalls

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// broadcast4 is the limited broadcast address (RFC 919).
var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isBroadcast reports whether an address is a broadcast address of the network. No node
// receives broadcasts.
func (c *Config) isBroadcast(a netip.Addr) bool {
	return a.Is4() && c.Prefix.Contains(a) && !c.Prefix.Contains(a.Next())
}

// mayBroadcast reports whether a socket has SO_BROADCAST.
func mayBroadcast(s *progSocket) bool {
	v, err := linux.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BROADCAST)
	return err == nil && v != 0
}

// joinMulticast answers setsockopt(2) with an option that joins a group (ip(7), ipv6(7)).
// The network has no multicast, and the program has no part in the host's networks. The
// kernel performs joins on loopback.
func (u *udp) joinMulticast(c Call) reply {
	return onSocket(c, func(s *progSocket) reply { return u.joinGroup(c, s) })
}

func (u *udp) joinGroup(c Call, s *progSocket) reply {
	if ok, err := s.isUDP(); err != nil || !ok {
		return passthrough
	}
	var b [abi.SizeofSockaddrStorage]byte
	size := min(c.Uint(4), uint64(len(b)))
	if err := c.ReadMemory(c.Ptr(3), b[:size]); err != nil {
		return fail(err)
	}
	if loopbackInterface(uint32(c.Int(1)), uint32(c.Int(2)), b[:size]) {
		return passthrough
	}
	return fail(unix.ENODEV)
}

// loopbackInterface reports whether an option's value names lo, or is too short to name
// an interface: struct ip_mreq, ip_mreqn, ip_mreq_source, ipv6_mreq, group_req or
// group_source_req. The last two begin with the index.
func loopbackInterface(level, name uint32, b []byte) bool {
	const lo = 1
	index := func(at int) bool {
		return len(b) < at+4 ||
			binary.NativeEndian.Uint32(b[at:]) == lo
	}
	switch {
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_JOIN_GROUP:
		return index(16)
	case name == unix.MCAST_JOIN_GROUP, name == unix.MCAST_JOIN_SOURCE_GROUP:
		return index(0)
	case len(b) < 8: // struct ip_mreq
		return true
	case name == unix.IP_ADD_MEMBERSHIP && len(b) >= 12 &&
		binary.NativeEndian.Uint32(b[8:]) != 0:
		return index(8)
	}
	return netip.AddrFrom4([4]byte(b[4:8])).IsLoopback()
}
