package syscalls

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Control messages with addresses, as include/uapi/linux/in.h and in6.h have
// them: struct in_pktinfo is the interface's index, the local address and the
// destination, 4 bytes each; struct in6_pktinfo is the address and the index.
const (
	sizeofPktinfo  = 12
	sizeofPktinfo6 = 20

	ipOrigDstAddr   = unix.IP_RECVORIGDSTADDR
	ipv6OrigDstAddr = unix.IPV6_RECVORIGDSTADDR
)

// An addressMap says what a program sees of a kernel address.
type addressMap func(netip.AddrPort) netip.AddrPort

// translateControl replaces, in place, the addresses that recvmsg(2) tells
// about a datagram: local has the node's, and offender that of who reported an error.
// It came in by the interface of an index.
func translateControl(b []byte, local, offender addressMap, index uint32) {
	for m := range controlMessages(b) {
		switch {
		case m.level == unix.IPPROTO_IP && m.kind == unix.IP_PKTINFO &&
			len(m.data) >= sizeofPktinfo:
			binary.NativeEndian.PutUint32(m.data, index)
			translate4(m.data[4:8], local)
			translate4(m.data[8:12], local)
		case m.level == unix.IPPROTO_IPV6 && m.kind == unix.IPV6_PKTINFO &&
			len(m.data) >= sizeofPktinfo6:
			a := netip.AddrFrom16([16]byte(m.data[:16]))
			to := local(netip.AddrPortFrom(a.Unmap(), 0)).Addr().As16()
			copy(m.data, to[:])
			binary.NativeEndian.PutUint32(m.data[16:], index)
		case m.level == unix.IPPROTO_IP && m.kind == ipOrigDstAddr,
			m.level == unix.IPPROTO_IPV6 && m.kind == ipv6OrigDstAddr:
			translateSockaddr(m.data, local)
		case (m.level == unix.IPPROTO_IP && m.kind == unix.IP_RECVERR ||
			m.level == unix.IPPROTO_IPV6 && m.kind == unix.IPV6_RECVERR) &&
			len(m.data) > sizeofExtendedErr:
			translateSockaddr(m.data[sizeofExtendedErr:], offender)
		}
	}
}

func translate4(b []byte, to addressMap) {
	a := to(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), 0)).Addr().Unmap()
	if a.Is4() {
		a4 := a.As4()
		copy(b, a4[:])
	}
}

// translateSockaddr replaces a socket address by one of the same family.
func translateSockaddr(b []byte, to addressMap) {
	s, err := ParseSockaddr(b)
	if err != nil {
		return
	}
	a := to(netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port()))
	if !s.Six && !a.Addr().Is4() {
		return
	}
	s.Addr = a
	var buf [sizeofInet6]byte
	copy(b, AppendSockaddr(buf[:0], s))
}

// withoutSource cuts the messages that choose a datagram's source (IP_PKTINFO,
// ip(7)) out of what sendmsg(2) was given, and returns the rest and the source: the zero
// Addr if none was asked for. The rest is the kernel's to judge.
func withoutSource(b []byte) (rest []byte, source netip.Addr, cut bool) {
	rest = b[:0:0]
	used := 0
	for m := range controlMessages(b) {
		used += len(m.whole)
		switch {
		case m.level == unix.IPPROTO_IP && m.kind == unix.IP_PKTINFO &&
			len(m.data) == sizeofPktinfo:
			source, cut = netip.AddrFrom4([4]byte(m.data[4:8])), true
		case m.level == unix.IPPROTO_IPV6 && m.kind == unix.IPV6_PKTINFO &&
			len(m.data) >= sizeofPktinfo6:
			source, cut = netip.AddrFrom16([16]byte(m.data[:16])).Unmap(), true
		default:
			rest = append(rest, m.whole...)
		}
	}
	return append(rest, b[used:]...), source, cut // with what is malformed
}
