package syscalls

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// Programs choose the TTL and the TOS of what they send (IP_TTL, IP_TOS of ip(7)), and
// over IPv6 the hop limit and the traffic class (IPV6_UNICAST_HOPS of ipv6(7),
// IPV6_TCLASS of RFC 3542). Receivers ask for them, and may refuse TCP packets by their
// TTL. On loopback the kernel sees to that. Between nodes, the supervisor of the sender
// tells the other one what was chosen, and that one's sockets send with it to the
// program. So that others pay nothing for it, the filter traps the calls that choose, and
// nobody asks for the fields before the first of them.
//
// To the kernel, what AF_INET6 sockets send here is IPv4. So a choice for IPv6 is made
// for IPv4, too.

// ipv6MinHopCount is IPV6_MINHOPCOUNT of include/uapi/linux/in6.h.
const ipv6MinHopCount = 73

// An ipOption is a socket option that chooses a field of IP headers.
type ipOption struct{ level, name int }

// ipOptions has the options, each with what stands for it over IPv4.
var ipOptions = map[ipOption]int{
	{unix.IPPROTO_IP, unix.IP_TTL}:              unix.IP_TTL,
	{unix.IPPROTO_IP, unix.IP_TOS}:              unix.IP_TOS,
	{unix.IPPROTO_IP, unix.IP_MINTTL}:           unix.IP_MINTTL,
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}: unix.IP_TTL,
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:       unix.IP_TOS,
	{unix.IPPROTO_IPV6, ipv6MinHopCount}:        unix.IP_MINTTL,
}

// chooseIPField answers setsockopt(2) with one of ipOptions.
func (n *Node) chooseIPField(c Call) reply {
	n.ipChosen.Store(true)
	return onSocket(c, func(s *progSocket) reply {
		domain, typ, err := s.kind()
		size := c.Int(4)
		if err != nil || !isInet(domain) || size <= 0 ||
			typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM {
			return passthrough
		}
		var b [4]byte
		size = min(size, len(b))
		if err := c.ReadMemory(c.Ptr(3), b[:size]); err != nil {
			return fail(err)
		}
		o := ipOption{c.Int(1), c.Int(2)}
		if err := linux.Setsockopt(s.fd, o.level, o.name, b[:size]); err != nil {
			return fail(err)
		}
		if o.level == unix.IPPROTO_IPV6 {
			v := int(int32(binary.NativeEndian.Uint32(b[:])))
			chooseForIPv4(s.fd, ipOptions[o], v)
		}
		if typ == unix.SOCK_STREAM {
			n.tellIPFields(s)
		}
		return value(0)
	})
}

// chooseForIPv4 makes a choice of IPv6 for IPv4. There, -1 asks for the default as well,
// but for the TOS, and the TTL cannot be 0.
func chooseForIPv4(fd, name, v int) {
	switch {
	case name == unix.IP_TTL && v == 0:
		v = 1
	case name == unix.IP_TOS && v < 0:
		v = 0
	}
	linux.SetsockoptInt(fd, unix.IPPROTO_IP, name, v)
}

// ipFields returns the fields of what a socket, of which fd is a copy, sends over IPv4 or
// IPv6 by itself.
func (c *core) ipFields(fd int, isV6 bool) stream.IPFields {
	if !c.ipChosen.Load() {
		return stream.IPFields{}
	}
	level, ttl, tos := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if isV6 {
		level, ttl, tos = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	hops, err := linux.GetsockoptInt(fd, level, ttl)
	class, err2 := linux.GetsockoptInt(fd, level, tos)
	if err != nil || err2 != nil {
		return stream.IPFields{}
	}
	return stream.NewIPFields(hops, class)
}

// cutIPFields takes the messages that choose fields out of a datagram's control messages,
// which are as the kernel gets them. Where they choose none, the result has those of f.
// Messages that the kernel would refuse stay.
func cutIPFields(control []byte, f stream.IPFields) (rest []byte, _ stream.IPFields) {
	used := 0
	for m := range abi.ControlMessages(control) {
		used += len(m.Whole)
		if v, ok := fieldOf(m); ok && m.Type == unix.IP_TTL && v > 0 {
			f = stream.NewIPFields(v, int(f.TOS))
		} else if ok && m.Type == unix.IP_TOS {
			f.TOS = uint8(v)
		} else {
			rest = append(rest, m.Whole...)
		}
	}
	return append(rest, control[used:]...), f
}

// fieldOf returns the value of a control message that chooses a field (ip_cmsg_send in
// net/ipv4/ip_sockglue.c).
func fieldOf(m abi.ControlMessage) (v int, ok bool) {
	if m.Level != unix.IPPROTO_IP || m.Type != unix.IP_TTL && m.Type != unix.IP_TOS {
		return 0, false
	}
	switch {
	case len(m.Data) == 4:
		v = int(int32(binary.NativeEndian.Uint32(m.Data)))
	case len(m.Data) == 1 && m.Type == unix.IP_TOS:
		v = int(m.Data[0])
	default:
		return 0, false
	}
	return v, v >= 0 && v <= 255
}

// choosesIPFields notes it where a datagram's control messages choose fields.
func (c *core) choosesIPFields(control []byte) {
	if c.ipChosen.Load() {
		return
	}
	for m := range abi.ControlMessages(control) {
		if _, ok := fieldOf(m); ok {
			c.ipChosen.Store(true)
		}
	}
}

// ipControl returns the control messages with which the kernel sends a datagram that has
// the fields; nil if it has them anyway.
func ipControl(f stream.IPFields) []byte {
	if f == (stream.IPFields{}) && hostTTL() == stream.DefaultTTL {
		return nil
	}
	const room = 64 // in bytes, for both
	var v [4]byte
	binary.NativeEndian.PutUint32(v[:], uint32(f.HopLimit()))
	b, _ := abi.PutControl(nil, unix.IPPROTO_IP, unix.IP_TTL, v[:], room)
	binary.NativeEndian.PutUint32(v[:], uint32(f.TOS))
	b, _ = abi.PutControl(b, unix.IPPROTO_IP, unix.IP_TOS, v[:], room)
	return b
}

// setIPFields has a TCP socket of the supervisor's send with the fields, if they are not
// those that it has: set are.
func setIPFields(fd int, f, set stream.IPFields) {
	if f == set && (set != stream.IPFields{} || hostTTL() == stream.DefaultTTL) {
		return
	}
	linux.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, f.HopLimit())
	linux.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, int(f.TOS))
}

// hostTTL returns the TTL of packets for which nobody has chosen one, on this host.
var hostTTL = sync.OnceValue(func() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_default_ttl")
	if err != nil {
		return stream.DefaultTTL
	}
	ttl, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return stream.DefaultTTL
	}
	return ttl
})

// tellIPFields has a socket tell the fields of what it receives, over either family.
func tellIPFields(fd int) {
	for _, o := range []ipOption{{unix.IPPROTO_IP, unix.IP_RECVTTL},
		{unix.IPPROTO_IP, unix.IP_RECVTOS}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS}} {
		linux.SetsockoptInt(fd, o.level, o.name, 1) // fails on sockets of IPv4
	}
}

// receivedIPFields returns the fields that control messages tell of what was received.
func receivedIPFields(control []byte) (f stream.IPFields) {
	if mapped, ok := v4Control(control); ok {
		control = mapped
	}
	_, f = cutIPFields(control, f)
	return f
}

// ipv6Control is ipControl for IPv6.
func ipv6Control(f stream.IPFields) []byte {
	const room = 64 // in bytes, for both
	var v [4]byte
	binary.NativeEndian.PutUint32(v[:], uint32(f.HopLimit()))
	b, _ := abi.PutControl(nil, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, v[:], room)
	binary.NativeEndian.PutUint32(v[:], uint32(f.TOS))
	b, _ = abi.PutControl(b, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, v[:], room)
	return b
}
