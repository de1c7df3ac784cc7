package abi

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes in bytes of struct sockaddr_in, sockaddr_in6 and sockaddr_storage.
// MinSockaddrInet6 is the part of sockaddr_in6 that Linux requires (SIN6_LEN_RFC2133).
const (
	SizeofSockaddrInet4   = 16
	SizeofSockaddrInet6   = 28
	MinSockaddrInet6      = 24
	SizeofSockaddrStorage = 128
)

// A Sockaddr is a struct sockaddr_in (ip(7)) or sockaddr_in6 (ipv6(7)).
type Sockaddr struct {
	Addr  netip.AddrPort // Is4In6 if an AF_INET6 address is v4-mapped
	V6    bool           // AF_INET6
	Flow  uint32         // sin6_flowinfo as it lies in memory
	Scope uint32         // sin6_scope_id: an interface index
}

// ParseSockaddr decodes an address of family AF_INET or AF_INET6. It fails with
// EINVAL if b is too short for its family, and with EAFNOSUPPORT for others.
func ParseSockaddr(b []byte) (Sockaddr, error) {
	if len(b) < 2 {
		return Sockaddr{}, unix.EINVAL
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		if len(b) < SizeofSockaddrInet4 {
			return Sockaddr{}, unix.EINVAL
		}
		addr := netip.AddrFrom4([4]byte(b[4:8]))
		return Sockaddr{Addr: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[2:]))}, nil
	case unix.AF_INET6:
		if len(b) < MinSockaddrInet6 {
			return Sockaddr{}, unix.EINVAL
		}
		s := Sockaddr{V6: true, Flow: binary.NativeEndian.Uint32(b[4:])}
		s.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])),
			binary.BigEndian.Uint16(b[2:]))
		if len(b) >= SizeofSockaddrInet6 {
			s.Scope = binary.NativeEndian.Uint32(b[24:])
		}
		return s, nil
	}
	return Sockaddr{}, unix.EAFNOSUPPORT
}

// as4 and as16 return a's bytes, or zeros if a has no form in that family.
func as4(a netip.Addr) [4]byte {
	if a = a.Unmap(); !a.Is4() {
		return [4]byte{}
	}
	return a.As4()
}

func as16(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

// AppendSockaddr appends the structure of s. Where s is an AF_INET6 address, an IPv4
// address becomes v4-mapped.
func AppendSockaddr(b []byte, s Sockaddr) []byte {
	if !s.V6 {
		a := as4(s.Addr.Addr())
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, s.Addr.Port())
		b = append(b, a[:]...)
		return append(b, make([]byte, SizeofSockaddrInet4-8)...)
	}
	a := as16(s.Addr.Addr())
	b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, s.Addr.Port())
	b = binary.NativeEndian.AppendUint32(b, s.Flow)
	b = append(b, a[:]...)
	return binary.NativeEndian.AppendUint32(b, s.Scope)
}
