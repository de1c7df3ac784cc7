package syscalls

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

const siocgiftxqlen = 0x8942 // SIOCGIFTXQLEN of linux/sockios.h

// interfaceRequests holds for the requests of ioctl(2) that are about network
// interfaces (netdevice(7), linux/sockios.h), and for few others.
var interfaceRequests = [][]Condition{
	{{Arg: 1, Mask: 0xfffffff0, Equal: 0x8910}},
	{{Arg: 1, Mask: 0xffffffe0, Equal: 0x8920}},
	{{Arg: 1, Mask: 0xfffffff0, Equal: 0x8940}},
}

// ioctl answers ioctl(2) with such a request, on a socket of any kind.
func (n *Node) ioctl(c Call) reply {
	request := c.Uint(1)
	switch uint32(request) {
	case unix.SIOCGIFCONF, unix.SIOCGIFNAME, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR,
		unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR,
		unix.SIOCGIFNETMASK, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR,
		unix.SIOCGIFINDEX, siocgiftxqlen, unix.SIOCETHTOOL:
	default:
		return letThrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	if _, _, err := kind(fd); err != nil || !networkNamespace.has(c.TID()) {
		return letThrough // not a socket: the kernel says so
	}
	if uint32(request) == unix.SIOCGIFCONF {
		return fail(n.interfaceList(c, c.Ptr(2)))
	}
	var b [abi.SizeofIfreq]byte
	size := layoutOf(c).SizeofIfreq
	if err := c.ReadMemory(c.Ptr(2), b[:size]); err != nil {
		return fail(err)
	}
	if err := n.answerIfreq(uint32(request), &b); err != nil {
		if err == unix.ENODEV && !n.OwnMounts && describesLink(uint32(request)) {
			return letThrough
		}
		return fail(err)
	}
	return fail(c.WriteMemory(c.Ptr(2), b[:size]))
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
func (n *Node) answerIfreq(request uint32, b *[abi.SizeofIfreq]byte) error {
	if request == unix.SIOCGIFNAME {
		l, ok := n.linkAt(int32(binary.NativeEndian.Uint32(b[unix.IFNAMSIZ:])))
		if !ok {
			return unix.ENODEV
		}
		clear(b[:unix.IFNAMSIZ])
		copy(b[:], l.name)
		return nil
	}
	b[unix.IFNAMSIZ-1] = 0
	l, ok := n.linkNamed(unix.ByteSliceToString(b[:unix.IFNAMSIZ]))
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

// interfaceList answers SIOCGIFCONF: the interfaces that have IPv4 addresses, as many
// as fit, or with a NULL buffer the length of them all.
func (n *Node) interfaceList(c Call, at uintptr) error {
	lay := layoutOf(c)
	var struc [16]byte
	conf := struc[:lay.SizeofIfconf]
	if err := c.ReadMemory(at, conf); err != nil {
		return err
	}
	room := int(int32(binary.NativeEndian.Uint32(conf)))
	buf := uintptr(lay.WordAt(conf, lay.IfconfBuf))
	var b []byte
	for _, l := range n.links() {
		if p, ok := l.ip4(); ok && (buf == 0 || len(b)+lay.SizeofIfreq <= room) {
			entry := append(make([]byte, 0, abi.SizeofIfreq), l.name...)
			entry = abi.AppendSockaddr(entry[:unix.IFNAMSIZ],
				abi.Sockaddr{Addr: netip.AddrPortFrom(p.Addr(), 0)})
			b = append(b, entry[:lay.SizeofIfreq]...)
		}
	}
	if buf != 0 {
		if err := c.WriteMemory(buf, b); err != nil {
			return err
		}
	}
	binary.NativeEndian.PutUint32(conf, uint32(len(b)))
	return c.WriteMemory(at, conf[:4])
}

// hasIPv6 reports whether the host has [::1].
var hasIPv6 = sync.OnceValue(func() bool {
	fd, err := socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}) == nil
})
