package abi

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The size of struct sock_extended_err in bytes, and where its fields lie
// (linux/errqueue.h).
const (
	SizeofSockExtendedErr = 16 // the offender's address follows

	offsetEEOrigin = 4
	offsetEEType   = 5
	offsetEECode   = 6
)

// Types and codes of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const (
	icmpDestUnreachable   = 3
	icmpHostUnreachable   = 1
	icmpPortUnreachable   = 3
	icmpv6DestUnreachable = 1
	icmpv6AddrUnreachable = 3
	icmpv6PortUnreachable = 4
)

// ICMPv6Errors changes, in place, the entries of an IPv6 socket's error queue that report
// ICMP errors (IPV6_RECVERR of ipv6(7)) into those that ICMPv6 would have caused. The
// kernel sent the datagram over IPv4; its program sent it to an IPv6 address.
func ICMPv6Errors(control []byte) {
	for m := range ControlMessages(control) {
		if m.Level != unix.IPPROTO_IPV6 || m.Type != unix.IPV6_RECVERR ||
			len(m.Data) < SizeofSockExtendedErr ||
			m.Data[offsetEEOrigin] != unix.SO_EE_ORIGIN_ICMP {
			continue
		}
		m.Data[offsetEEOrigin] = unix.SO_EE_ORIGIN_ICMP6
		if m.Data[offsetEEType] != icmpDestUnreachable {
			continue
		}
		m.Data[offsetEEType] = icmpv6DestUnreachable
		switch m.Data[offsetEECode] {
		case icmpPortUnreachable:
			m.Data[offsetEECode] = icmpv6PortUnreachable
		case icmpHostUnreachable:
			m.Data[offsetEECode] = icmpv6AddrUnreachable
		}
	}
}

// HostUnreachableErrors changes, in place, the entries of a socket's error queue
// (IP_RECVERR of ip(7)) into those for a host that is unreachable: EHOSTUNREACH.
func HostUnreachableErrors(control []byte) {
	for m := range ControlMessages(control) {
		code := byte(icmpHostUnreachable)
		switch {
		case m.Level == unix.IPPROTO_IP && m.Type == unix.IP_RECVERR:
		case m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_RECVERR:
			code = icmpv6AddrUnreachable
		default:
			continue
		}
		if len(m.Data) >= SizeofSockExtendedErr {
			binary.NativeEndian.PutUint32(m.Data, uint32(unix.EHOSTUNREACH))
			m.Data[offsetEECode] = code
		}
	}
}
