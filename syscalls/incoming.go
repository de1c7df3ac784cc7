package syscalls

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Accept connects to the listener that the node's programs have on port, on
// behalf of src, which they see as the peer. It fails with ECONNREFUSED if
// there is none. The caller relays with the returned function, which owns the
// connection, or calls abort.
func (n *Node) Accept(ctx context.Context, src netip.AddrPort, port uint16) (run func(Stream), abort func(), err error) {
	for _, l := range n.ports.find(port, n.Addr, netip.IPv4Unspecified()) {
		conn, remove, err := n.dialListener(ctx, l.kernel, src)
		if Errno(err) == unix.ECONNREFUSED {
			n.ports.refused(l.program, l.kernel)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		run = func(s Stream) {
			n.relays.Add(1)
			defer remove()
			n.relay(conn, s)
		}
		abort = func() {
			defer remove()
			conn.SetLinger(0)
			conn.Close()
		}
		return run, abort, nil
	}
	return nil, nil, unix.ECONNREFUSED
}

// dialListener connects to a listener at a kernel address. The program sees
// src as the peer until remove is called.
func (n *Node) dialListener(ctx context.Context, kernel, src netip.AddrPort) (conn *net.TCPConn, remove func(), err error) {
	var own netip.AddrPort
	d := net.Dialer{
		KeepAlive: -1, // loopback does not vanish
		// The program may accept before our connect returns: the peer must be
		// known when the port is.
		Control: func(_, _ string, c syscall.RawConn) error {
			var s Sockaddr
			var err error
			if e := c.Control(func(fd uintptr) {
				relay := kernelSockaddr(unix.AF_INET, netip.AddrPortFrom(n.Aliases.Relay, 0))
				if err = unix.Bind(int(fd), relay); err == nil {
					s, _, err = localName(int(fd))
				}
			}); e != nil || err != nil {
				return errors.Join(e, err)
			}
			own = s.Addr
			n.peers.addAccepted(own, src)
			return nil
		},
	}
	remove = func() { n.peers.removeAccepted(own) }
	c, err := d.DialContext(ctx, "tcp4", kernel.String())
	if err != nil {
		remove()
		return nil, nil, err
	}
	return c.(*net.TCPConn), remove, nil
}
