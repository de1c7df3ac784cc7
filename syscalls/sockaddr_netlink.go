package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// sizeofNetlink is the size of struct sockaddr_nl in bytes (netlink(7)).
const sizeofNetlink = 12

// A netlinkAddr is struct sockaddr_nl.
type netlinkAddr struct{ port, groups uint32 }

// parseNetlinkAddr reads a struct sockaddr_nl; ok is false for AF_UNSPEC. It fails with
// EINVAL, as net/netlink/af_netlink.c does, for other families and if b is too short.
func parseNetlinkAddr(b []byte) (a netlinkAddr, ok bool, err error) {
	if len(b) < 2 {
		return a, false, unix.EINVAL
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_UNSPEC:
		return a, false, nil
	case unix.AF_NETLINK:
		if len(b) >= sizeofNetlink {
			return netlinkAddr{binary.NativeEndian.Uint32(b[4:]),
				binary.NativeEndian.Uint32(b[8:])}, true, nil
		}
	}
	return a, false, unix.EINVAL
}

// encode returns the address as it lies in memory.
func (a netlinkAddr) encode() (b [sizeofNetlink]byte) {
	binary.NativeEndian.PutUint16(b[:], unix.AF_NETLINK)
	binary.NativeEndian.PutUint32(b[4:], a.port)
	binary.NativeEndian.PutUint32(b[8:], a.groups)
	return b
}
