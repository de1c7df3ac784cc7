package syscalls

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// Sockets that lead to the outside have an address of the host's. Programs ask for
// it to learn their own, and tell it others: they connect a UDP socket to a far
// address and call getsockname(2). Nobody reaches a node there, it is on no
// interface that the program sees, and bind(2) refuses it. So the program is told
// the node's address, which is right on the network, and outside as good as any
// behind a NAT.

// egressName returns what getsockname(2) tells for a socket at a kernel address that
// is no alias: the node's address instead of the host's. It is not for a socket that
// others made, or what such a listener has accepted: that is reached at the host's
// address and keeps it.
func (n *Node) egressName(s *progSocket, local abi.Sockaddr) abi.Sockaddr {
	kernel := unmapped(local.Addr)
	a := kernel.Addr()
	own := n.addrFor(a)
	switch {
	case !own.IsValid() || n.inNetwork(a):
	case !a.IsGlobalUnicast() && !(a.Is4() && a.IsLinkLocalUnicast()):
		// AWS Lambda's functions have 169.254.0.0/16
	case mayBeForeign(s.fd, a): // chosen by the program
	default:
		local.Addr = netip.AddrPortFrom(own, kernel.Port())
	}
	return local
}

// dialEgress connects to the outside from the port that the program has, if the host
// lets boxer have it, and else from another.
func dialEgress(ctx context.Context, port uint16, dst netip.AddrPort) (Stream, error) {
	d := net.Dialer{Control: shareAddress}
	if source, ok := sourceTo(dst); ok {
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Port: int(port)}
	}
	c, err := d.DialContext(ctx, "tcp", dst.String())
	if isErrno(err, unix.EADDRINUSE) || isErrno(err, unix.EACCES) ||
		isErrno(err, unix.EADDRNOTAVAIL) {
		d.LocalAddr = nil
		c, err = d.DialContext(ctx, "tcp", dst.String())
	}
	if err != nil {
		return nil, err
	}
	return stream.NewTCP(c.(*net.TCPConn))
}

func isErrno(err error, errno unix.Errno) bool { return errors.Is(err, errno) }

// shareAddress lets a socket have a port that others of its kind have, as programs
// may have several connections from one.
func shareAddress(_, _ string, c syscall.RawConn) (err error) {
	e := c.Control(func(fd uintptr) {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			err = errors.Join(err, linux.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt, 1))
		}
	})
	return errors.Join(e, err)
}

// sourceTo returns the address of the host's from which it reaches another.
func sourceTo(dst netip.AddrPort) (netip.Addr, bool) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(dst)) // sends nothing
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), true
}
