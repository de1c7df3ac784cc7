package strace

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// socketFlags are the flags of socket(2) and accept4(2).
var socketFlags = names{"SOCK_???", []constant{
	{unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"},
	{unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"},
}}

// typeMask is SOCK_TYPE_MASK of include/linux/net.h.
const typeMask = 0xf

// socketType is the type of socket(2) with its flags.
func socketType(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		v := uint64(uint32(p.Args[i]))
		p.b = socketTypes.value(p.b, v&typeMask)
		if v &^= typeMask; v != 0 {
			p.text("|")
			p.b = socketFlags.flags(p.b, v)
		}
	}}
}

// protocol is the protocol of socket(2). Its names depend on the domain, two arguments
// before.
func protocol(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		v := uint64(uint32(p.Args[i]))
		switch uint32(p.Args[i-2]) {
		case unix.AF_INET, unix.AF_INET6:
			p.b = inetProtocols.value(p.b, v)
		case unix.AF_NETLINK:
			p.b = netlinkProtocols.value(p.b, v)
		case unix.AF_PACKET:
			p.text("htons(")
			p.b = etherTypes.value(p.b, uint64(binary.BigEndian.Uint16([]byte{byte(v),
				byte(v >> 8)})))
			p.text(")")
		default:
			p.dec(int64(int32(v)))
		}
	}}
}

// bufferIn is a buffer that the program sends. Its size is the next argument.
func bufferIn(name string) param {
	return param{name: name, capture: CaptureSent,
		need: func(f fetcher, i int) {
			f.fetch(f.ptr(i), int(min(f.Args[i+1], uint64(f.payload))))
		},
		show: func(p *printer, i int) {
			p.payloadAt(p.ptr(i),
				int(min(p.Args[i+1], 1<<31)), false)
		},
	}
}

// bufferOut is a buffer that the program receives into. The result is the number of
// bytes.
func bufferOut(name string) param {
	return param{name: name, out: true, capture: CaptureReceived, show: func(p *printer, i int) {
		if !p.ok() {
			p.address(p.ptr(i))
			return
		}
		p.payloadAt(p.ptr(i), int(min(uint64(p.Value), p.Args[i+1])), true)
	}}
}

// fdPair is the array that socketpair(2) stores two descriptors in.
func fdPair(name string) param {
	return param{name: name, out: true, show: func(p *printer, i int) {
		b, ok := p.view(p.ptr(i), 8, true)
		if !ok || !p.ok() {
			p.address(p.ptr(i))
			return
		}
		p.text("[")
		p.descriptor(int(binary.NativeEndian.Uint32(b)))
		p.text(", ")
		p.descriptor(int(binary.NativeEndian.Uint32(b[4:])))
		p.text("]")
	}}
}

// timespecIn is a pointer to a struct timespec.
func timespecIn(name string) param {
	return param{name: name, capture: CaptureTime,
		need: func(f fetcher, i int) { f.fetch(f.ptr(i), f.timespecSize()) },
		show: func(p *printer, i int) {
			b, ok := p.view(p.ptr(i), p.timespecSize(), false)
			if !ok {
				p.address(p.ptr(i))
				return
			}
			sec, nsec := abi.ParseTimespec(b)
			p.text("{tv_sec=")
			p.dec(sec)
			p.text(", tv_nsec=")
			p.dec(nsec)
			p.text("}")
		},
	}
}
