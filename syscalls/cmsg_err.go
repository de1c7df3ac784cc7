package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The size of struct sock_extended_err in bytes, and where its fields lie
// (linux/errqueue.h).
const (
	sizeofExtendedErr = 16 // the offender's address follows

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

// errorsOfSix makes what a queue of errors has of ICMP what it would have of ICMPv6, for
// a datagram that went to an IPv6 address as its program sees it.
func errorsOfSix(control []byte) {
	for m := range controlMessages(control) {
		if m.level != unix.IPPROTO_IPV6 || m.kind != unix.IPV6_RECVERR ||
			len(m.data) < sizeofExtendedErr ||
			m.data[offsetEEOrigin] != unix.SO_EE_ORIGIN_ICMP {
			continue
		}
		m.data[offsetEEOrigin] = unix.SO_EE_ORIGIN_ICMP6
		if m.data[offsetEEType] != icmpDestUnreachable {
			continue
		}
		m.data[offsetEEType] = icmpv6DestUnreachable
		switch m.data[offsetEECode] {
		case icmpPortUnreachable:
			m.data[offsetEECode] = icmpv6PortUnreachable
		case icmpHostUnreachable:
			m.data[offsetEECode] = icmpv6AddrUnreachable
		}
	}
}

// hostUnreachable puts right what a queue of errors has about an absent host.
func hostUnreachable(control []byte) {
	for m := range controlMessages(control) {
		code := byte(icmpHostUnreachable)
		switch {
		case m.level == unix.IPPROTO_IP && m.kind == unix.IP_RECVERR:
		case m.level == unix.IPPROTO_IPV6 && m.kind == unix.IPV6_RECVERR:
			code = icmpv6AddrUnreachable
		default:
			continue
		}
		if len(m.data) >= sizeofExtendedErr {
			binary.NativeEndian.PutUint32(m.data, uint32(unix.EHOSTUNREACH))
			m.data[offsetEECode] = code
		}
	}
}
