package syscalls

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// reportErrors makes the kernel queue ICMP errors for each datagram (IP_RECVERR, ip(7)).
// The socket serves both families.
func reportErrors(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = linux.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		if six := linux.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR,
			1); set == nil && !errors.Is(six, unix.ENOPROTOOPT) {
			set = six
		}
	})
	return errors.Join(err, set)
}

// isUnreachable reports whether an error comes from an ICMP message about a datagram.
func isUnreachable(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) ||
		errors.Is(err, unix.ENETUNREACH)
}

// egressErrors reports the ICMP errors for datagrams to the outside to the program's
// socket, as Linux does: see refuseFrom.
func (u *udp) egressErrors(o *egressSocket) {
	c, ok := o.conn.(egressUDP)
	if !ok {
		return
	}
	for {
		to, quote, errno, err := c.nextError()
		if err != nil {
			return
		}
		if errno == unix.ECONNREFUSED || errno == unix.EHOSTUNREACH {
			own := netip.AddrPortFrom(u.addrFor(to.Addr()),
				u.ports.programPort(o.kernel))
			u.refuseFrom(to, own, quote, errno)
		}
	}
}

// nextError removes an entry from the socket's error queue: the datagram's destination,
// its first bytes, and the error.
func (c egressUDP) nextError() (to netip.AddrPort, quote []byte, errno unix.Errno,
	err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return to, nil, 0, err
	}
	var b [maxQuote]byte
	var oob [512]byte
	var size, oobn int
	var sa unix.Sockaddr
	var failed error
	err = raw.Control(func(fd uintptr) {
		size, oobn, _, sa, failed = unix.Recvmsg(int(fd), b[:], oob[:],
			unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	})
	if err = errors.Join(err, failed); err != nil {
		return to, nil, 0, err
	}
	if addr, _, ok := sockaddrAddrPort(sa); ok {
		to = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	for m := range abi.ControlMessages(oob[:oobn]) {
		four := m.Level == unix.IPPROTO_IP && m.Type == unix.IP_RECVERR
		six := m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_RECVERR
		// struct sock_extended_err
		if (four || six) && len(m.Data) >= abi.SizeofSockExtendedErr {
			errno = unix.Errno(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return to, b[:size], errno, nil
}
