package strace

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// networkCalls are the calls of strace's set %network, and uname(2), which
// tells a node's name.
var networkCalls = []Signature{
	{name: "accept", params: []param{fdArg("sockfd"), sockaddrOut("addr"),
		lengthOut("addrlen")}, result: newFD},
	{name: "accept4", params: []param{fdArg("sockfd"), sockaddrOut("addr"),
		lengthOut("addrlen"), flagsOf("flags", socketFlags)}, result: newFD},
	{name: "bind", params: []param{fdArg("sockfd"), sockaddrIn("addr"), number("addrlen")}},
	{name: "connect", params: []param{fdArg("sockfd"), sockaddrIn("addr"), number("addrlen")}},
	{name: "getpeername", params: []param{fdArg("sockfd"), sockaddrOut("addr"),
		lengthOut("addrlen")}},
	{name: "getsockname", params: []param{fdArg("sockfd"), sockaddrOut("addr"),
		lengthOut("addrlen")}},
	{name: "getsockopt", params: []param{fdArg("sockfd"), oneOf("level", levels),
		option("optname"), optionOut("optval"), lengthOut("optlen")}},
	{name: "listen", params: []param{fdArg("sockfd"), number("backlog")}},
	{name: "recvfrom", params: []param{fdArg("sockfd"), bufferOut("buf"), size("len"),
		flagsOf("flags", messageFlags), sockaddrOut("src_addr"), lengthOut("addrlen")}},
	{name: "recvmmsg", params: []param{fdArg("sockfd"), messages("msgvec", true),
		number("vlen"), flagsOf("flags", messageFlags), timespecIn("timeout")}},
	{name: "recvmsg", params: []param{fdArg("sockfd"), messageOut("msg"),
		flagsOf("flags", messageFlags)}},
	{name: "sendmmsg", params: []param{fdArg("sockfd"), messages("msgvec", false),
		number("vlen"), flagsOf("flags", messageFlags)}},
	{name: "sendmsg", params: []param{fdArg("sockfd"), messageIn("msg"),
		flagsOf("flags", messageFlags)}},
	{name: "sendto", params: []param{fdArg("sockfd"), bufferIn("buf"), size("len"),
		flagsOf("flags", messageFlags), sockaddrIn("dest_addr"), number("addrlen")}},
	{name: "setsockopt", params: []param{fdArg("sockfd"), oneOf("level", levels),
		option("optname"), optionIn("optval"), number("optlen")}},
	{name: "shutdown", params: []param{fdArg("sockfd"), oneOf("how", shutdownHows)}},
	{name: "socket", params: []param{oneOf("domain", families), socketType("type"),
		protocol("protocol")}, result: newFD},
	{name: "socketpair", params: []param{oneOf("domain", families), socketType("type"),
		protocol("protocol"), fdPair("sv")}},
}

// socketFlags are what socket(2) and accept4(2) take beside a type.
var socketFlags = names{"SOCK_???", []constant{
	{unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"},
	{unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"},
}}

// typeMask is SOCK_TYPE_MASK of include/linux/net.h.
const typeMask = 0xf

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

// protocol depends on the domain, which is two arguments before it.
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

// bufferIn are bytes that the program sends; their number follows.
func bufferIn(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) {
			f.fetch(f.ptr(i),
				int(min(f.Args[i+1], uint64(f.payload))))
		},
		show: func(p *printer, i int) {
			p.payloadAt(p.ptr(i),
				int(min(p.Args[i+1], 1<<31)), false)
		},
	}
}

// bufferOut are bytes that the program gets; the result is their number.
func bufferOut(name string) param {
	return param{name: name, out: true, show: func(p *printer, i int) {
		if !p.ok() {
			p.address(p.ptr(i))
			return
		}
		p.payloadAt(p.ptr(i), int(min(uint64(p.Value), p.Args[i+1])), true)
	}}
}

// fdPair is where socketpair(2) and pipe(2) put two descriptors.
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

func timespecIn(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) { f.fetch(f.ptr(i), f.timespecSize()) },
		show: func(p *printer, i int) {
			b, ok := p.view(p.ptr(i), p.timespecSize(), false)
			if !ok {
				p.address(p.ptr(i))
				return
			}
			half := func(b []byte) int64 {
				if len(b) == 4 {
					return int64(int32(binary.NativeEndian.Uint32(b)))
				}
				return int64(binary.NativeEndian.Uint64(b))
			}
			p.text("{tv_sec=")
			p.b = strconv.AppendInt(p.b, half(b[:len(b)/2]), 10)
			p.text(", tv_nsec=")
			p.b = strconv.AppendInt(p.b, half(b[len(b)/2:]), 10)
			p.text("}")
		},
	}
}
