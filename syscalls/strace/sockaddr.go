package strace

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// sockaddr shows a socket address of at least two bytes.
func (p *printer) sockaddr(b []byte) {
	family := binary.NativeEndian.Uint16(b)
	p.text("{sa_family=")
	p.b = families.value(p.b, uint64(family))
	switch {
	case family == unix.AF_UNIX:
		p.unixPath(b[2:])
	case family == unix.AF_INET && len(b) >= abi.SizeofSockaddrInet4:
		p.text(", sin_port=htons(")
		p.dec(int64(binary.BigEndian.Uint16(b[2:])))
		p.text(`), sin_addr=inet_addr("`)
		p.b = netip.AddrFrom4([4]byte(b[4:8])).AppendTo(p.b)
		p.text(`")`)
	case family == unix.AF_INET6 && len(b) >= abi.MinSockaddrInet6:
		p.inet6(b)
	case family == unix.AF_NETLINK && len(b) >= unix.SizeofSockaddrNetlink:
		p.text(", nl_pid=")
		p.b = strconv.AppendUint(p.b, uint64(binary.NativeEndian.Uint32(b[4:])), 10)
		p.text(", nl_groups=")
		p.paddedHex(binary.NativeEndian.Uint32(b[8:]))
	case family == unix.AF_PACKET && len(b) >= unix.SizeofSockaddrLinklayer:
		p.linkLayer(b)
	case len(b) > 2:
		p.text(", sa_data=")
		p.b = appendQuoted(p.b, b[2:])
	}
	p.text("}")
}

// paddedHex shows v as C's %#08x does.
func (p *printer) paddedHex(v uint32) {
	if v != 0 {
		p.text("0x")
	}
	digits := strconv.FormatUint(uint64(v), 16)
	width := 6
	if v == 0 {
		width = 8
	}
	for range width - len(digits) {
		p.text("0")
	}
	p.text(digits)
}

// unixPath shows sun_path. The first byte of an abstract address is NUL.
func (p *printer) unixPath(path []byte) {
	if len(path) == 0 {
		return
	}
	p.text(", sun_path=")
	if path[0] == 0 {
		p.text("@")
		p.b = appendQuoted(p.b, path[1:])
		return
	}
	p.b = appendQuoted(p.b, untilNUL(path))
}

// inet6 shows the fields of struct sockaddr_in6.
func (p *printer) inet6(b []byte) {
	addr := netip.AddrFrom16([16]byte(b[8:24]))
	p.text(", sin6_port=htons(")
	p.dec(int64(binary.BigEndian.Uint16(b[2:])))
	p.text("), sin6_flowinfo=htonl(")
	p.dec(int64(binary.BigEndian.Uint32(b[4:])))
	p.text(`), inet_pton(AF_INET6, "`)
	p.b = addr.AppendTo(p.b)
	p.text(`", &sin6_addr)`)
	if len(b) < abi.SizeofSockaddrInet6 {
		return
	}
	p.text(", sin6_scope_id=")
	scope := binary.NativeEndian.Uint32(b[24:])
	if addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() {
		p.ifindex(scope)
		return
	}
	p.b = strconv.AppendUint(p.b, uint64(scope), 10)
}

// linkLayer shows the fields of struct sockaddr_ll.
func (p *printer) linkLayer(b []byte) {
	p.text(", sll_protocol=htons(")
	p.b = etherTypes.value(p.b, uint64(binary.BigEndian.Uint16(b[2:])))
	p.text("), sll_ifindex=")
	p.ifindex(binary.NativeEndian.Uint32(b[4:]))
	p.text(", sll_hatype=")
	p.b = hardwareTypes.value(p.b, uint64(binary.NativeEndian.Uint16(b[8:])))
	p.text(", sll_pkttype=")
	p.b = packetTypes.value(p.b, uint64(b[10]))
	p.text(", sll_halen=")
	p.dec(int64(b[11]))
	if n := min(int(b[11]), 8); n > 0 {
		p.text(", sll_addr=[")
		for i, c := range b[12 : 12+n] {
			if i > 0 {
				p.text(", ")
			}
			p.text("0x")
			if c < 16 {
				p.text("0")
			}
			p.b = strconv.AppendUint(p.b, uint64(c), 16)
		}
		p.text("]")
	}
}

// ifindex shows the name of the machine's interface that has an index, or the index.
func (p *printer) ifindex(i uint32) {
	if i != 0 {
		if ifi, err := net.InterfaceByIndex(int(i)); err == nil {
			p.text("if_nametoindex(")
			p.b = appendQuoted(p.b, []byte(ifi.Name))
			p.text(")")
			return
		}
	}
	p.b = strconv.AppendUint(p.b, uint64(i), 10)
}

// sockaddrAt shows a socket address of size bytes in memory.
func (p *printer) sockaddrAt(addr uintptr, size int, after bool) {
	if addr != 0 && size >= 2 {
		if b, ok := p.view(addr, min(size, abi.SizeofSockaddrStorage), after); ok {
			p.sockaddr(b)
			return
		}
	}
	p.address(addr)
}

// sockaddrIn is a socket address that the program passes. Its size is the next argument.
func sockaddrIn(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) {
			f.fetch(f.ptr(i), min(f.int(i+1), abi.SizeofSockaddrStorage))
		},
		show: func(p *printer, i int) { p.sockaddrAt(p.ptr(i), p.int(i+1), false) },
	}
}

// sockaddrOut is a socket address that the kernel stores. The next argument points to its
// size.
func sockaddrOut(name string) param {
	return param{name: name, out: true,
		need: func(f fetcher, i int) { f.fetch(f.ptr(i+1), 4) },
		show: func(p *printer, i int) {
			room, size, ok := p.lengths(p.ptr(i + 1))
			if !ok || !p.ok() {
				p.address(p.ptr(i))
				return
			}
			p.sockaddrAt(p.ptr(i), min(room, size), true)
		},
	}
}

// lengths returns the C int at an address before the call and after it.
func (p *printer) lengths(addr uintptr) (before, after int, ok bool) {
	b, ok := p.view(addr, 4, false)
	if !ok {
		return 0, 0, false
	}
	a, _ := p.view(addr, 4, true)
	return int(int32(binary.NativeEndian.Uint32(b))),
		int(int32(binary.NativeEndian.Uint32(a))), true
}

// lengthOut is a pointer to a size that the kernel changes.
func lengthOut(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		before, after, ok := p.lengths(p.ptr(i))
		if !ok {
			p.address(p.ptr(i))
			return
		}
		p.text("[")
		p.dec(int64(before))
		if p.ok() && before != after {
			p.text(" => ")
			p.dec(int64(after))
		}
		p.text("]")
	}}
}
