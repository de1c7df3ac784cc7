package sockdiag

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Socket is a socket as the kernel, or a program, knows it.
type Socket struct {
	Protocol      uint8          // IPPROTO_TCP and so on
	Family        uint8          // AF_INET or AF_INET6
	Listens       bool           // it is a TCP listener
	Local, Remote netip.AddrPort // v4-mapped addresses are IPv4; Remote may be zero
	Inode         uint32         // 0: no process has it any more

	// Only6 says that an IPv6 socket takes no IPv4 (IPV6_V6ONLY, ipv6(7)).
	Only6 bool
}

// A View returns a socket of the kernel's as programs of the node know it. ok is false if
// they do not know it at all.
type View func(Socket) (s Socket, ok bool)

// Types of messages of linux/sock_diag.h and linux/inet_diag.h.
const (
	tcpdiagGetsock   = 18
	sockDiagByFamily = 20
)

// Offsets into struct inet_diag_msg of linux/inet_diag.h, which follows struct nlmsghdr.
// struct inet_diag_sockid begins at the first port.
const (
	msgFamily  = sizeofNlmsghdr + 0
	msgState   = sizeofNlmsghdr + 1
	msgSport   = sizeofNlmsghdr + 4
	msgDport   = sizeofNlmsghdr + 6
	msgSource  = sizeofNlmsghdr + 8
	msgDest    = sizeofNlmsghdr + 24
	msgInode   = sizeofNlmsghdr + 68
	sizeofMsg  = sizeofNlmsghdr + 72
	attrV6Only = 11 // INET_DIAG_SKV6ONLY

	stateListen = 10 // TCP_LISTEN of include/net/tcp_states.h
)

// parseSocket reads a message about a TCP or UDP socket; ok is false for others.
func parseSocket(m message, protocol uint8) (s Socket, ok bool) {
	b := m.bytes
	if len(b) < sizeofMsg || m.kind != sockDiagByFamily && m.kind != tcpdiagGetsock {
		return Socket{}, false
	}
	s = Socket{Protocol: protocol, Family: b[msgFamily],
		Listens: protocol == unix.IPPROTO_TCP && b[msgState] == stateListen,
		Inode:   binary.NativeEndian.Uint32(b[msgInode:])}
	if s.Family != unix.AF_INET && s.Family != unix.AF_INET6 {
		return Socket{}, false
	}
	s.Local = addrAt(b, s.Family, msgSource, msgSport)
	s.Remote = addrAt(b, s.Family, msgDest, msgDport)
	if only := attribute(b[sizeofMsg:], attrV6Only); len(only) > 0 {
		s.Only6 = only[0] != 0
	}
	return s, true
}

func addrAt(b []byte, family uint8, addr, port int) netip.AddrPort {
	p := binary.BigEndian.Uint16(b[port:])
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[addr:])), p)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[addr:])).Unmap(), p)
}

// put writes the addresses of a socket into its message. An address without a form in
// the socket's family stays as it is.
func put(b []byte, s Socket) {
	putAddr(b, s.Family, msgSource, msgSport, s.Local)
	putAddr(b, s.Family, msgDest, msgDport, s.Remote)
	if only := attribute(b[sizeofMsg:], attrV6Only); len(only) > 0 && s.Only6 {
		only[0] = 1
	}
}

func putAddr(b []byte, family uint8, addr, port int, a netip.AddrPort) {
	switch {
	case !a.IsValid() || family == unix.AF_INET && !a.Addr().Is4():
		return
	case family == unix.AF_INET:
		v4 := a.Addr().As4()
		copy(b[addr:], v4[:])
	default:
		v6 := a.Addr().As16() // v4-mapped, if it is IPv4
		copy(b[addr:], v6[:])
	}
	binary.BigEndian.PutUint16(b[port:], a.Port())
}
