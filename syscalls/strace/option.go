package strace

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// optionsOf returns the names of a level's options.
func optionsOf(level uint32) names {
	switch level {
	case unix.SOL_SOCKET:
		return socketOptions
	case unix.SOL_IP:
		return ipOptions
	case unix.SOL_IPV6:
		return ipv6Options
	case unix.SOL_TCP:
		return tcpOptions
	case unix.SOL_UDP:
		return udpOptions
	case unix.SOL_NETLINK:
		return netlinkOptions
	case unix.SOL_PACKET:
		return packetOptions
	}
	return names{unknown: "???"}
}

// IsOption reports whether this package knows an option of a level (setsockopt(2)).
func IsOption(level, option uint32) bool {
	_, ok := optionsOf(level).find(uint64(option))
	return ok
}

// option is the name of a socket option. Its level is the argument before.
func option(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		level, v := uint32(p.Args[i-1]), uint64(uint32(p.Args[i]))
		if o := optionsOf(level); o.list != nil {
			p.b = o.value(p.b, v)
			return
		}
		p.hex(v)
	}}
}

// optionIn is the value of setsockopt(2). Level and name are the arguments before, its
// size is the next one.
func optionIn(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) { f.fetch(f.ptr(i), min(f.int(i+1), maxPiece)) },
		show: func(p *printer, i int) {
			p.optionValue(uint32(p.Args[i-2]), uint32(p.Args[i-1]), p.ptr(i), p.int(i+1), false)
		},
	}
}

// optionOut is the value of getsockopt(2). The next argument points to its size.
func optionOut(name string) param {
	return param{name: name, out: true,
		need: func(f fetcher, i int) { f.fetch(f.ptr(i+1), 4) },
		show: func(p *printer, i int) {
			_, size, ok := p.lengths(p.ptr(i + 1))
			if !ok || !p.ok() {
				p.address(p.ptr(i))
				return
			}
			p.optionValue(uint32(p.Args[i-2]), uint32(p.Args[i-1]), p.ptr(i), size, true)
		},
	}
}

// optionValue shows an option's value as strace does: a C int as a number, other values
// as text.
func (p *printer) optionValue(level, name uint32, addr uintptr, size int, after bool) {
	if level == unix.SOL_SOCKET {
		switch {
		case name == unix.SO_LINGER && size >= 8:
			if b, ok := p.view(addr, 8, after); ok {
				p.text("{l_onoff=")
				p.dec(int64(int32(binary.NativeEndian.Uint32(b))))
				p.text(", l_linger=")
				p.dec(int64(int32(binary.NativeEndian.Uint32(b[4:]))))
				p.text("}")
				return
			}
		case name == unix.SO_PEERCRED && size >= 12:
			if b, ok := p.view(addr, 12, after); ok {
				p.ucred(b)
				return
			}
		}
	}
	if size == 4 {
		if b, ok := p.view(addr, 4, after); ok {
			p.text("[")
			p.dec(int64(int32(binary.NativeEndian.Uint32(b))))
			p.text("]")
			return
		}
	}
	quote := appendQuoted
	if size < 4 && after {
		quote = appendQuotedHex
	}
	if size <= 0 || size < 4 && !after && level == unix.SOL_SOCKET &&
		name != unix.SO_BINDTODEVICE {
		p.address(addr)
		return
	}
	p.bytesAt(addr, size, after, quote)
}
