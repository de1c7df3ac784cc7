package abi

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// SizeofSockaddrNetlink is the size of struct sockaddr_nl in bytes (netlink(7)).
const SizeofSockaddrNetlink = 12

// A SockaddrNetlink is struct sockaddr_nl: a socket's port, and the multicast groups.
type SockaddrNetlink struct{ Port, Groups uint32 }

// ParseSockaddrNetlink reads a struct sockaddr_nl. ok is false for AF_UNSPEC. It fails
// with EINVAL for other families and if b is too short, as net/netlink/af_netlink.c does.
func ParseSockaddrNetlink(b []byte) (a SockaddrNetlink, ok bool, err error) {
	if len(b) < 2 {
		return a, false, unix.EINVAL
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_UNSPEC:
		return a, false, nil
	case unix.AF_NETLINK:
		if len(b) >= SizeofSockaddrNetlink {
			return SockaddrNetlink{binary.NativeEndian.Uint32(b[4:]),
				binary.NativeEndian.Uint32(b[8:])}, true, nil
		}
	}
	return a, false, unix.EINVAL
}

// Encode returns the struct sockaddr_nl.
func (a SockaddrNetlink) Encode() (b [SizeofSockaddrNetlink]byte) {
	binary.NativeEndian.PutUint16(b[:], unix.AF_NETLINK)
	binary.NativeEndian.PutUint32(b[4:], a.Port)
	binary.NativeEndian.PutUint32(b[8:], a.Groups)
	return b
}
