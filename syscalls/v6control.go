package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// For the kernel, AF_INET6 sockets send and receive v4-mapped IPv4 here. Hop limit and
// traffic class of IPv6 (RFC 3542 section 6) therefore travel as TTL and TOS, and their
// control messages are converted to and from those of IPv4. So is the message with a
// datagram's destination (IPV6_RECVORIGDSTADDR).

// pairs are the control messages that correspond to each other.
var pairs = [...]struct {
	v6, v4            int32 // types of control messages
	receive6, receive int   // options that request them
	data              func([]byte) []byte
}{
	{unix.IPV6_HOPLIMIT, unix.IP_TTL, unix.IPV6_RECVHOPLIMIT, unix.IP_RECVTTL, intData},
	{unix.IPV6_TCLASS, unix.IP_TOS, unix.IPV6_RECVTCLASS, unix.IP_RECVTOS, intData},
	{unix.IPV6_RECVORIGDSTADDR, unix.IP_RECVORIGDSTADDR, unix.IPV6_RECVORIGDSTADDR,
		unix.IP_RECVORIGDSTADDR, mappedSockaddr},
}

// intData returns the data of an int option, up to 255, which may be given as a byte or
// an int.
func intData(b []byte) []byte {
	v := make([]byte, 4)
	binary.NativeEndian.PutUint32(v, uint32(b[0]))
	if len(b) == len(v) {
		copy(v, b)
	}
	return v
}

// mappedSockaddr returns an IPv4 socket address as an IPv6 one, v4-mapped.
func mappedSockaddr(b []byte) []byte {
	a, err := abi.ParseSockaddr(b)
	if err != nil {
		return b
	}
	a.V6 = true
	return abi.AppendSockaddr(nil, a)
}

// v4Control returns the control messages that the kernel gets with an IPv6 datagram of a
// program. ok is false if none has to be converted. -1 asks for the default.
func v4Control(b []byte) (out []byte, ok bool) {
	for m := range abi.ControlMessages(b) {
		kind := int32(-1)
		for _, p := range pairs {
			if m.Level == unix.IPPROTO_IPV6 && m.Type == p.v6 && len(m.Data) == 4 {
				kind = p.v4
			}
		}
		if kind < 0 {
			out = append(out, m.Whole...)
			continue
		}
		ok = true
		data := m.Data
		if v := int32(binary.NativeEndian.Uint32(data)); v < 0 {
			continue
		} else if v == 0 && kind == unix.IP_TTL { // IPv4 has no such TTL
			data = binary.NativeEndian.AppendUint32(nil, 1)
		}
		out, _ = abi.PutControl(out, unix.IPPROTO_IP, kind, data, maxSentControl)
	}
	return out, ok
}

// A mappedReceive is recvmsg(2) on an AF_INET6 socket.
type mappedReceive struct {
	fd    int
	wants [len(pairs)]bool // which of pairs the program requests for IPv6
	ours  [len(pairs)]bool // which it does not request for IPv4
}

// receiveMapped makes the kernel report for IPv4 what a program requests for IPv6. ok is
// false if it requests nothing.
func receiveMapped(fd int) (r mappedReceive, ok bool) {
	if domain, err := linux.GetsockoptInt(fd, unix.SOL_SOCKET,
		unix.SO_DOMAIN); err != nil ||
		domain != unix.AF_INET6 {
		return r, false
	}
	r.fd = fd
	for i, p := range pairs {
		v, err := linux.GetsockoptInt(fd, unix.IPPROTO_IPV6, p.receive6)
		if r.wants[i] = err == nil && v != 0; !r.wants[i] {
			continue
		}
		ok = true
		if v, err = linux.GetsockoptInt(fd, unix.IPPROTO_IP, p.receive); err == nil && v == 0 {
			r.ours[i] = linux.SetsockoptInt(fd, unix.IPPROTO_IP, p.receive, 1) == nil
		}
	}
	return r, ok
}

// end undoes receiveMapped.
func (r mappedReceive) end() {
	for i, p := range pairs {
		if r.ours[i] {
			linux.SetsockoptInt(r.fd, unix.IPPROTO_IP, p.receive, 0)
		}
	}
}

// control returns the received control messages for the program, in room bytes; cut is
// true if some are missing. isV6 says that an IPv6 datagram was received.
func (r mappedReceive) control(b []byte, isV6 bool, room int) (out []byte, cut bool) {
	for m := range abi.ControlMessages(b) {
		level, kind, data := m.Level, m.Type, m.Data
		// Linux adds no IPv4 messages to an IPv6 datagram. Errors are translated later.
		keep := !isV6 || level != unix.IPPROTO_IP || kind == unix.IP_RECVERR
		for i, p := range pairs {
			if m.Level != unix.IPPROTO_IP || m.Type != p.v4 || len(m.Data) == 0 {
				continue
			}
			switch {
			case isV6 && r.wants[i]:
				level, kind, data, keep = unix.IPPROTO_IPV6, p.v6, p.data(m.Data), true
			case r.ours[i]:
				keep = false
			}
		}
		if keep {
			var short bool
			out, short = abi.PutControl(out, level, kind, data, room)
			cut = cut || short
		}
	}
	return out, cut
}

// receiveErrors answers setsockopt(2) with IPV6_RECVERR (ipv6(7)). For the kernel, the
// socket's datagrams to aliases are IPv4, whose errors it reports with IP_RECVERR
// (ip(7)).
func (u *udp) receiveErrors(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		ok, err := s.isUDP()
		if err != nil || !ok || s.domain != unix.AF_INET6 || c.Int(4) < 4 {
			return passthrough
		}
		var b [4]byte
		if err := c.ReadMemory(c.Ptr(3), b[:]); err != nil {
			return fail(err)
		}
		v := int(int32(binary.NativeEndian.Uint32(b[:])))
		if err := linux.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR,
			v); err != nil {
			return fail(err)
		}
		return fail(linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_RECVERR, v))
	})
}
