package syscalls

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// Options that name the interface by which a socket sends (ip(7), ipv6(7)). The node's
// interface is unknown to the kernel, which may have another one of that index. Nothing
// that the node carries leaves by an interface of the host, so the kernel does not learn
// of the choice, unless it is lo.

// chooseInterface answers setsockopt(2) with IP_UNICAST_IF, IPV6_UNICAST_IF and
// IPV6_MULTICAST_IF.
func (o *options) chooseInterface(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		key, ok := interfaceOption(c, s)
		if !ok || c.Int(4) != 4 && (key.name != unix.IPV6_MULTICAST_IF || c.Int(4) < 4) {
			return passthrough // the kernel says what is wrong
		}
		var b [4]byte
		if c.ReadMemory(c.Ptr(3), b[:]) != nil {
			return passthrough
		}
		switch index := key.index(b); {
		case index == 0, index == loopbackIndex:
			o.set(key, 0)
			return passthrough
		case index == netif.InterfaceIndex:
			err := linux.SetsockoptInt(s.fd, key.level, key.name, 0)
			if err == nil {
				o.set(key, netif.InterfaceIndex)
			}
			return fail(err)
		case key.name == unix.IPV6_MULTICAST_IF && key.level == unix.IPPROTO_IPV6:
			return fail(unix.ENODEV)
		}
		return fail(unix.EADDRNOTAVAIL)
	})
}

// chosenInterface answers getsockopt(2) with these options.
func (o *options) chosenInterface(c Call) reply {
	if o.empty() {
		return passthrough
	}
	return onSocket(c, func(s *progSocket) reply {
		key, ok := interfaceOption(c, s)
		if !ok {
			return passthrough
		}
		index := o.get(key)
		if index == 0 {
			return passthrough
		}
		b := key.value(uint32(index))
		return fail(writeOption(c, b[:], 0, c.Ptr(3), c.Ptr(4)))
	})
}

// interfaceOption returns the option of a call, of which s is the socket. ok is false for
// sockets and options that the kernel knows alone.
func interfaceOption(c Call, s *progSocket) (key optionKey, ok bool) {
	domain, typ, err := s.kind()
	if err != nil || !isInet(domain) || typ == unix.SOCK_RAW || !s.inOwnNamespace() {
		return key, false
	}
	key.level, key.name = c.Int(1), c.Int(2)
	if key.level == unix.IPPROTO_IPV6 && (domain != unix.AF_INET6 ||
		key.name == unix.IPV6_MULTICAST_IF && typ == unix.SOCK_STREAM) {
		return key, false
	}
	key.cookie, err = s.cookie()
	return key, err == nil
}

// loopbackIndex is the index of lo, in each network namespace.
const loopbackIndex = 1

// index returns the index of an interface that is an option's value. Of IP_UNICAST_IF and
// IPV6_UNICAST_IF it is in network byte order.
func (k optionKey) index(value [4]byte) uint32 {
	if k.name == unix.IPV6_MULTICAST_IF {
		return binary.NativeEndian.Uint32(value[:])
	}
	return binary.BigEndian.Uint32(value[:])
}

// value is the inverse of index.
func (k optionKey) value(index uint32) (b [4]byte) {
	if k.name == unix.IPV6_MULTICAST_IF {
		binary.NativeEndian.PutUint32(b[:], index)
	} else {
		binary.BigEndian.PutUint32(b[:], index)
	}
	return b
}

// Sizes of struct in_addr, ip_mreq and ip_mreqn, in bytes. ip_mreq has the interface's
// address after the group's, and ip_mreqn the interface's index after both (ip(7)).
const (
	sizeofInAddr  = 4
	sizeofIPMreq  = 8
	sizeofIPMreqn = 12
)

// multicastInterface answers setsockopt(2) with IP_MULTICAST_IF: the interface by which
// multicasts leave, by its index or by one of its addresses. To the kernel the node's is
// lo, and it keeps the address, which getsockopt(2) returns.
func (u *udp) multicastInterface(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		if ok, err := s.isUDP(); err != nil || !ok {
			return passthrough
		}
		var mreqn [sizeofIPMreqn]byte
		value, size := mreqn[:], c.Int(4)
		switch {
		case size >= sizeofIPMreqn:
		case size >= sizeofIPMreq:
			value = mreqn[:sizeofIPMreq]
		case size >= sizeofInAddr:
			value = mreqn[4 : 4+sizeofInAddr]
		default:
			return passthrough // the kernel says what is wrong
		}
		if c.ReadMemory(c.Ptr(3), value) != nil {
			return passthrough
		}
		a := netip.AddrFrom4([4]byte(mreqn[4:8]))
		switch index := binary.NativeEndian.Uint32(mreqn[8:]); {
		case index == loopbackIndex, index == 0 && (a.IsUnspecified() || a.IsLoopback()):
			return passthrough
		case index != netif.InterfaceIndex && (index != 0 || a != u.Addr):
			return fail(unix.EADDRNOTAVAIL)
		}
		return fail(unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF,
			&unix.IPMreqn{Address: a.As4(), Ifindex: loopbackIndex}))
	})
}
