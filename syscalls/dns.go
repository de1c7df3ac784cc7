package syscalls

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// dnsPort is where name servers listen (RFC 1035 section 4.2).
const dnsPort = 53

// dns knows which loopback address stands in for which name server. There are
// as many as the programs ask: those of resolv.conf(5), most of the time.
type dns struct {
	mu      sync.RWMutex
	proxies map[netip.AddrPort]netip.AddrPort // by server
	servers map[netip.AddrPort]netip.AddrPort // by proxy
}

// maxNameServers bounds the table; servers beyond it are left to the host.
const maxNameServers = 64

// server returns the name server that the proxy stands for.
func (d *dns) server(proxy netip.AddrPort) (netip.AddrPort, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, ok := d.servers[proxy]
	return s, ok
}

// used reports whether any program has asked a name server.
func (d *dns) used() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.servers) > 0
}

// isNameServer reports whether a destination is a name server that the node's
// resolver stands in for. A node's own port 53 is an ordinary port.
func (n *Node) isNameServer(addr netip.AddrPort) bool {
	return addr.Port() == dnsPort && n.Resolver != nil && !n.Prefix.Contains(addr.Addr()) &&
		len(n.ports.find(dnsPort, localhost4, netip.IPv4Unspecified())) == 0
}

// proxy returns the address that answers in place of the server.
func (n *Node) proxy(server netip.AddrPort) (netip.AddrPort, bool) {
	d := &n.dns
	d.mu.RLock()
	p, ok := d.proxies[server]
	d.mu.RUnlock()
	if ok {
		return p, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.proxies[server]; ok {
		return p, true
	}
	if len(d.proxies) >= maxNameServers {
		return netip.AddrPort{}, false
	}
	p, err := n.Resolver.Proxy(server)
	if err != nil {
		n.Logger.Warn("name server", "server", server, "err", err)
		return netip.AddrPort{}, false
	}
	if d.proxies == nil {
		d.proxies = make(map[netip.AddrPort]netip.AddrPort)
		d.servers = make(map[netip.AddrPort]netip.AddrPort)
	}
	d.proxies[server] = p
	d.servers[p] = server
	return p, true
}

// connectResolver connects a socket to the node's resolver instead of the name
// server at addr.
func (n *Node) connectResolver(fd, domain, typ int, addr netip.AddrPort) (reply, bool) {
	proxy, ok := n.proxy(addr)
	if !ok {
		return letThrough, false
	}
	err := connectNow(fd, kernelSockaddr(domain, proxy))
	if typ == unix.SOCK_DGRAM {
		return fail(err), false
	}
	nb, nerr := nonblocking(fd)
	if nerr != nil {
		return fail(nerr), false
	}
	return n.finishLocal(fd, !nb, err)
}

// sendto answers sendto(2) with an address: a query to a name server goes to
// the node's resolver. With a NULL address the filter does not trap it.
func (n *Node) sendto(c Call) reply {
	dst, err := readSockaddr(c, c.Ptr(4), c.Int(5))
	if err != nil {
		return letThrough // the kernel says what is wrong
	}
	addr := netip.AddrPortFrom(dst.Addr.Addr().Unmap(), dst.Addr.Port())
	if !n.isNameServer(addr) && !n.Prefix.Contains(addr.Addr()) {
		return letThrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	domain, typ, err := kind(fd)
	switch {
	case err != nil:
		return fail(err)
	case !isInet(domain):
		return letThrough
	case typ == unix.SOCK_STREAM && c.Int(3)&unix.MSG_FASTOPEN != 0:
		return fail(unix.EOPNOTSUPP) // as a kernel without TCP Fast Open; programs then connect
	case typ != unix.SOCK_DGRAM:
		return letThrough
	case n.Prefix.Contains(addr.Addr()):
		return fail(unix.ENETUNREACH) // see Table: UDP
	}
	proxy, ok := n.proxy(addr)
	if !ok {
		return letThrough
	}
	size := c.Uint(2)
	if size > maxDatagram {
		return fail(unix.EMSGSIZE)
	}
	b := make([]byte, size)
	if err := c.ReadMemory(c.Ptr(1), b); err != nil {
		return fail(err)
	}
	if err := unix.Sendto(fd, b, c.Int(3)|unix.MSG_DONTWAIT, kernelSockaddr(domain, proxy)); err != nil {
		return fail(err)
	}
	return value(uintptr(size))
}

// maxDatagram is the largest UDP payload over IPv4, in bytes.
const maxDatagram = 65507

// recvfrom answers recvfrom(2) with an address: what the node's resolver sends
// comes, for the program, from the name server that it asked. With a NULL
// address the filter does not trap it.
func (n *Node) recvfrom(c Call) reply {
	if !n.dns.used() {
		return letThrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	domain, typ, err := kind(fd)
	if err != nil || !isInet(domain) || typ != unix.SOCK_DGRAM {
		unix.Close(fd)
		return letThrough
	}
	flags := c.Int(3)
	r := n.receive(c, fd, flags)
	if r.errno == unix.EAGAIN && r.kind == replyErrno && flags&unix.MSG_DONTWAIT == 0 {
		if nb, err := nonblocking(fd); err == nil && !nb {
			return later(func(ctx context.Context, c Call) reply {
				defer unix.Close(fd)
				if err := waitReady(ctx, fd, unix.POLLIN, unix.SO_RCVTIMEO); err != nil {
					return fail(err)
				}
				return n.receive(c, fd, flags)
			})
		}
	}
	unix.Close(fd)
	return r
}

// receive is recvfrom without waiting. A datagram from elsewhere than the
// resolver is left to the kernel.
func (n *Node) receive(c Call, fd, flags int) reply {
	var peek [1]byte
	_, from, err := unix.Recvfrom(fd, peek[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil {
		return fail(err)
	}
	src, six, ok := sockaddrAddrPort(from)
	server, isProxy := n.dns.server(netip.AddrPortFrom(src.Addr().Unmap(), src.Port()))
	if !ok || !isProxy {
		return letThrough
	}
	b := make([]byte, min(c.Uint(2), maxDatagram))
	size, _, err := unix.Recvfrom(fd, b, flags&^unix.MSG_WAITALL|unix.MSG_DONTWAIT)
	if err != nil {
		return fail(err)
	}
	if err := c.WriteMemory(c.Ptr(1), b[:min(size, len(b))]); err != nil {
		return fail(err)
	}
	if err := writeSockaddr(c, Sockaddr{Addr: server, Six: six}, c.Ptr(4), c.Ptr(5)); err != nil {
		return fail(err)
	}
	return value(uintptr(size))
}

func sockaddrAddrPort(sa unix.Sockaddr) (a netip.AddrPort, six, ok bool) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), false, true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), true, true
	}
	return netip.AddrPort{}, false, false
}
