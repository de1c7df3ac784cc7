package netif

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

const siocgiftxqlen = 0x8942 // SIOCGIFTXQLEN of linux/sockios.h

// IsIfreq reports whether Ifreq knows a request of ioctl(2) (netdevice(7)).
func IsIfreq(request uint32) bool {
	switch request {
	case unix.SIOCGIFNAME, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR,
		unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU,
		unix.SIOCGIFHWADDR, unix.SIOCGIFINDEX, siocgiftxqlen, unix.SIOCETHTOOL:
		return true
	}
	return false
}

// DescribesLink reports whether a request is about an interface itself, and not about its
// addresses or its index. A program that shares the machine's mounts finds the machine's
// interfaces in /proc/net and /sys, and asks about them. It may take ENODEV for a failure
// of its own.
func DescribesLink(request uint32) bool {
	switch request {
	case unix.SIOCGIFFLAGS, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR, unix.SIOCGIFMETRIC,
		siocgiftxqlen:
		return true
	}
	return false
}

// Ifreq answers a request in the program's struct ifreq (netdevice(7)). It fails with
// ENODEV if there is no such interface, with EADDRNOTAVAIL if it has no IPv4 address, and
// with EOPNOTSUPP for SIOCETHTOOL, since there is no hardware.
func (h Host) Ifreq(request uint32, b *[abi.SizeofIfreq]byte) error {
	if request == unix.SIOCGIFNAME {
		l, ok := h.LinkByIndex(int32(binary.NativeEndian.Uint32(b[unix.IFNAMSIZ:])))
		if !ok {
			return unix.ENODEV
		}
		clear(b[:unix.IFNAMSIZ])
		copy(b[:], l.Name)
		return nil
	}
	b[unix.IFNAMSIZ-1] = 0
	l, ok := h.LinkByName(unix.ByteSliceToString(b[:unix.IFNAMSIZ]))
	if !ok {
		return unix.ENODEV
	}
	v := b[unix.IFNAMSIZ:]
	switch request {
	case unix.SIOCGIFFLAGS:
		binary.NativeEndian.PutUint16(v, uint16(l.Flags))
	case unix.SIOCGIFMETRIC:
		binary.NativeEndian.PutUint32(v, 0)
	case unix.SIOCGIFMTU:
		binary.NativeEndian.PutUint32(v, l.MTU)
	case unix.SIOCGIFINDEX:
		binary.NativeEndian.PutUint32(v, uint32(l.Index))
	case siocgiftxqlen:
		binary.NativeEndian.PutUint32(v, TxQueueLen)
	case unix.SIOCGIFHWADDR:
		clear(v[:abi.SizeofSockaddrInet4])
		binary.NativeEndian.PutUint16(v, l.Type)
		copy(v[2:], l.HardwareAddr[:])
	case unix.SIOCETHTOOL:
		return unix.EOPNOTSUPP
	default:
		return l.putAddress(request, v)
	}
	return nil
}

// putAddress stores the address that a request asks for as a struct sockaddr.
func (l Link) putAddress(request uint32, v []byte) error {
	p, ok := l.ip4()
	if !ok {
		return unix.EADDRNOTAVAIL
	}
	a := p.Addr()
	switch request {
	case unix.SIOCGIFNETMASK:
		a = netmask(p.Bits())
	case unix.SIOCGIFBRDADDR: // the interface has none
		a = netip.IPv4Unspecified()
	}
	copy(v, abi.AppendSockaddr(nil, abi.Sockaddr{Addr: netip.AddrPortFrom(a, 0)}))
	return nil
}

// netmask returns the IPv4 network mask of a prefix length.
func netmask(bits int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-bits))
	return netip.AddrFrom4(b)
}

// Ifconf returns the array of struct ifreq that SIOCGIFCONF fetches: the interfaces that
// have IPv4 addresses, as many as fit into room bytes.
func (h Host) Ifconf(l *abi.Layout, room int) []byte {
	var b []byte
	for _, each := range h.Links() {
		if p, ok := each.ip4(); ok && len(b)+l.SizeofIfreq <= room {
			entry := append(make([]byte, 0, abi.SizeofIfreq), each.Name...)
			entry = abi.AppendSockaddr(entry[:unix.IFNAMSIZ],
				abi.Sockaddr{Addr: netip.AddrPortFrom(p.Addr(), 0)})
			b = append(b, entry[:l.SizeofIfreq]...)
		}
	}
	return b
}
