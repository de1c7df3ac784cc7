package syscalls

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

const siocgiftxqlen = 0x8942 // SIOCGIFTXQLEN of linux/sockios.h

// isIfreq reports whether answerIfreq answers a request of ioctl(2).
func isIfreq(request uint32) bool {
	switch request {
	case unix.SIOCGIFNAME, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR,
		unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU,
		unix.SIOCGIFHWADDR, unix.SIOCGIFINDEX, siocgiftxqlen, unix.SIOCETHTOOL:
		return true
	}
	return false
}

// describesLink reports whether a request is about an interface and not about its
// addresses or its number. A program that shares the machine's mounts finds
// the machine's interfaces in /proc/net and /sys, and asks about them: it may
// take ENODEV for a failure of its own. They have no addresses to it.
func describesLink(request uint32) bool {
	switch request {
	case unix.SIOCGIFFLAGS, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR, unix.SIOCGIFMETRIC,
		siocgiftxqlen:
		return true
	}
	return false
}

// answerIfreq fills in a struct ifreq as the request has it.
func (h Host) answerIfreq(request uint32, b *[abi.SizeofIfreq]byte) error {
	if request == unix.SIOCGIFNAME {
		l, ok := h.linkAt(int32(binary.NativeEndian.Uint32(b[unix.IFNAMSIZ:])))
		if !ok {
			return unix.ENODEV
		}
		clear(b[:unix.IFNAMSIZ])
		copy(b[:], l.name)
		return nil
	}
	b[unix.IFNAMSIZ-1] = 0
	l, ok := h.linkNamed(unix.ByteSliceToString(b[:unix.IFNAMSIZ]))
	if !ok {
		return unix.ENODEV
	}
	v := b[unix.IFNAMSIZ:]
	switch request {
	case unix.SIOCGIFFLAGS:
		binary.NativeEndian.PutUint16(v, uint16(l.flags))
	case unix.SIOCGIFMETRIC:
		binary.NativeEndian.PutUint32(v, 0)
	case unix.SIOCGIFMTU:
		binary.NativeEndian.PutUint32(v, l.mtu)
	case unix.SIOCGIFINDEX:
		binary.NativeEndian.PutUint32(v, uint32(l.index))
	case siocgiftxqlen:
		binary.NativeEndian.PutUint32(v, txQueueLen)
	case unix.SIOCGIFHWADDR:
		clear(v[:abi.SizeofSockaddrInet4])
		binary.NativeEndian.PutUint16(v, l.kind)
		copy(v[2:], l.mac[:])
	case unix.SIOCETHTOOL:
		return unix.EOPNOTSUPP // there is no hardware
	default:
		return l.putAddress(request, v)
	}
	return nil
}

// putAddress stores one of the interface's addresses as a struct sockaddr.
func (l link) putAddress(request uint32, v []byte) error {
	p, ok := l.ip4()
	if !ok {
		return unix.EADDRNOTAVAIL
	}
	a := p.Addr()
	switch request {
	case unix.SIOCGIFNETMASK:
		a = netmask(p.Bits())
	case unix.SIOCGIFBRDADDR: // as on an interface without
		a = netip.IPv4Unspecified()
	}
	copy(v, abi.AppendSockaddr(nil, abi.Sockaddr{Addr: netip.AddrPortFrom(a, 0)}))
	return nil
}

func netmask(bits int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-bits))
	return netip.AddrFrom4(b)
}

// ifconf returns the array of struct ifreq that SIOCGIFCONF fetches: the interfaces that
// have IPv4 addresses, as many as fit into room bytes.
func (h Host) ifconf(l *abi.Layout, room int) []byte {
	var b []byte
	for _, each := range h.links() {
		if p, ok := each.ip4(); ok && len(b)+l.SizeofIfreq <= room {
			entry := append(make([]byte, 0, abi.SizeofIfreq), each.name...)
			entry = abi.AppendSockaddr(entry[:unix.IFNAMSIZ],
				abi.Sockaddr{Addr: netip.AddrPortFrom(p.Addr(), 0)})
			b = append(b, entry[:l.SizeofIfreq]...)
		}
	}
	return b
}
