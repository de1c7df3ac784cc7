package abi

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Control messages with addresses (include/uapi/linux/in.h and in6.h). struct in_pktinfo
// has the interface's index, the local address and the destination, 4 bytes each. struct
// in6_pktinfo has the address and the index.
const (
	sizeofPktinfo  = 12
	sizeofPktinfo6 = 20

	ipOrigDstAddr   = unix.IP_RECVORIGDSTADDR
	ipv6OrigDstAddr = unix.IPV6_RECVORIGDSTADDR
)

// An AddressMap returns the address that a program sees in place of a kernel address.
type AddressMap func(netip.AddrPort) netip.AddrPort

// TranslateControl replaces, in place, the addresses in the control messages that
// recvmsg(2) returned with a datagram. local maps the node's own addresses, and offender
// the address of the host that reported an error. The interface that the datagram came in
// by becomes index.
func TranslateControl(b []byte, local, offender AddressMap, index uint32) {
	for m := range ControlMessages(b) {
		switch {
		case m.Level == unix.IPPROTO_IP && m.Type == unix.IP_PKTINFO &&
			len(m.Data) >= sizeofPktinfo:
			binary.NativeEndian.PutUint32(m.Data, index)
			translate4(m.Data[4:8], local)
			translate4(m.Data[8:12], local)
		case m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_PKTINFO &&
			len(m.Data) >= sizeofPktinfo6:
			a := netip.AddrFrom16([16]byte(m.Data[:16]))
			to := local(netip.AddrPortFrom(a.Unmap(), 0)).Addr().As16()
			copy(m.Data, to[:])
			binary.NativeEndian.PutUint32(m.Data[16:], index)
		case m.Level == unix.IPPROTO_IP && m.Type == ipOrigDstAddr,
			m.Level == unix.IPPROTO_IPV6 && m.Type == ipv6OrigDstAddr:
			translateSockaddr(m.Data, local)
		case (m.Level == unix.IPPROTO_IP && m.Type == unix.IP_RECVERR ||
			m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_RECVERR) &&
			len(m.Data) > SizeofSockExtendedErr:
			translateSockaddr(m.Data[SizeofSockExtendedErr:], offender)
		}
	}
}

func translate4(b []byte, to AddressMap) {
	a := to(netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), 0)).Addr().Unmap()
	if a.Is4() {
		a4 := a.As4()
		copy(b, a4[:])
	}
}

// translateSockaddr replaces a socket address. An AF_INET address stays as it is if its
// replacement is an IPv6 one.
func translateSockaddr(b []byte, to AddressMap) {
	s, err := ParseSockaddr(b)
	if err != nil {
		return
	}
	a := to(netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port()))
	if !s.V6 && !a.Addr().Is4() {
		return
	}
	s.Addr = a
	var buf [SizeofSockaddrInet6]byte
	copy(b, AppendSockaddr(buf[:0], s))
}

// CutSource removes the control messages that choose a datagram's source address
// (IP_PKTINFO of ip(7), IPV6_PKTINFO of ipv6(7)). It returns the other messages and the
// source; cut reports whether there was one. Malformed messages stay among the others,
// for the kernel to judge.
func CutSource(b []byte) (rest []byte, source netip.Addr, cut bool) {
	rest = b[:0:0]
	used := 0
	for m := range ControlMessages(b) {
		used += len(m.Whole)
		switch {
		case m.Level == unix.IPPROTO_IP && m.Type == unix.IP_PKTINFO &&
			len(m.Data) == sizeofPktinfo:
			source, cut = netip.AddrFrom4([4]byte(m.Data[4:8])), true
		case m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_PKTINFO &&
			len(m.Data) >= sizeofPktinfo6:
			source, cut = netip.AddrFrom16([16]byte(m.Data[:16])).Unmap(), true
		default:
			rest = append(rest, m.Whole...)
		}
	}
	return append(rest, b[used:]...), source, cut // with what is malformed
}
