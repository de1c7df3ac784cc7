package transport

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An iface is one IPv4 address of this host's network namespace.
type iface struct {
	prefix   netip.Prefix // address and length of the network
	loopback bool
	mtu      int // bytes
}

// interfaces returns the IPv4 addresses of the interfaces that are up. It uses ioctl(2)
// on the socket (netdevice(7)), not netlink as package net does: the socket has its
// network namespace on every thread, and some sandboxes refuse netlink.
func (s *Socket) interfaces() (list []iface) {
	s.raw.Control(func(fd uintptr) {
		for _, req := range interfaceAddrs(fd) {
			if i, ok := readInterface(int(fd), req.name(), req.addr()); ok {
				list = append(list, i)
			}
		}
	})
	return list
}

// readInterface reads the other properties of the interface that has addr.
func readInterface(fd int, name string, addr netip.Addr) (iface, bool) {
	req, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req) != nil {
		return iface{}, false
	}
	flags := req.Uint16()
	if flags&unix.IFF_UP == 0 {
		return iface{}, false
	}
	i := iface{loopback: flags&unix.IFF_LOOPBACK != 0}
	bits := 32
	if unix.IoctlIfreq(fd, unix.SIOCGIFNETMASK, req) == nil {
		if mask, err := req.Inet4Addr(); err == nil {
			for bits = 0; bits < 32 && mask[bits/8]&(0x80>>(bits%8)) != 0; bits++ {
			}
		}
	}
	i.prefix = netip.PrefixFrom(addr, bits)
	if unix.IoctlIfreq(fd, unix.SIOCGIFMTU, req) == nil {
		i.mtu = int(req.Uint32())
	}
	return i, true
}

// ifreq is struct ifreq of netdevice(7), with a socket address in its union.
type ifreq struct {
	label [unix.IFNAMSIZ]byte
	data  [24]byte
}

func (r *ifreq) name() string { return unix.ByteSliceToString(r.label[:]) }

// addr reads the struct sockaddr_in.
func (r *ifreq) addr() netip.Addr { return netip.AddrFrom4([4]byte(r.data[4:8])) }

// interfaceAddrs does SIOCGIFCONF: one entry for each IPv4 address.
func interfaceAddrs(fd uintptr) []ifreq {
	for size := 64; ; size *= 2 {
		buf := make([]ifreq, size)
		conf := struct {
			length int32 // bytes
			buf    *ifreq
		}{int32(uintptr(size) * unsafe.Sizeof(ifreq{})), &buf[0]}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGIFCONF,
			uintptr(unsafe.Pointer(&conf))); errno != 0 {
			return nil
		}
		n := int(uintptr(conf.length) / unsafe.Sizeof(ifreq{}))
		if n == size && size < 1<<14 { // there may be more
			continue
		}
		buf = buf[:n]
		inet := buf[:0]
		for _, r := range buf {
			if binary.NativeEndian.Uint16(r.data[:2]) == unix.AF_INET {
				inet = append(inet, r)
			}
		}
		return inet
	}
}
