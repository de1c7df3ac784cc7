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

// Sockets that are connected to the outside have an address of the host. Programs read it
// to learn their own address, and tell it to others: they connect a UDP socket to a far
// address and call getsockname(2). No peer reaches a node at the host's address. It is on
// no interface that the program sees, and bind(2) refuses it. getsockname therefore
// returns the node's address. That address is right on the network, and outside it is as
// good as any address behind a NAT.

// egressName returns the result of getsockname(2) for a socket at a kernel address that
// is not an alias: the node's address instead of the host's. Sockets that were made
// outside of the node, and connections that such listeners have accepted, keep the host's
// address, at which clients reach them.
func (n *Node) egressName(s *progSocket, local abi.Sockaddr) abi.Sockaddr {
	kernel := unmapped(local.Addr)
	a := kernel.Addr()
	own := n.addrFor(a)
	switch {
	case !own.IsValid() || n.inNetwork(a):
	case !a.IsGlobalUnicast() && !(a.Is4() && a.IsLinkLocalUnicast()):
		// AWS Lambda's functions have 169.254.0.0/16
	case mayBeForeign(s.fd, a): // the program has chosen it
	default:
		local.Addr = netip.AddrPortFrom(own, kernel.Port())
	}
	return local
}

// dialEgress connects to the outside from the program's port if the host allows that, and
// otherwise from another port.
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

// shareAddress lets a socket share its port with others: programs may have several
// connections from one port.
func shareAddress(_, _ string, c syscall.RawConn) (err error) {
	e := c.Control(func(fd uintptr) {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			err = errors.Join(err, linux.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt, 1))
		}
	})
	return errors.Join(e, err)
}

// sourceTo returns the host's source address for a destination.
func sourceTo(dst netip.AddrPort) (netip.Addr, bool) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(dst)) // sends nothing
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), true
}
