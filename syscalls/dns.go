package syscalls

import (
	"net/netip"
	"sync"
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
	return addr.Port() == dnsPort && n.Resolver != nil && !n.inNetwork(addr.Addr()) &&
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

// connectResolver connects a TCP socket to the node's resolver instead of the
// name server at addr.
func (n *Node) connectResolver(fd, domain int, addr netip.AddrPort) (reply, bool) {
	proxy, ok := n.proxy(addr)
	if !ok {
		return letThrough, false
	}
	mappable(fd, domain) // or it is bound, and the connect tells
	err := connectNow(fd, domain, proxy)
	nb, nerr := nonblocking(fd)
	if nerr != nil {
		return fail(nerr), false
	}
	return n.finishLocal(fd, !nb, err)
}
