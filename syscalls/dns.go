package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// dnsPort is where name servers listen (RFC 1035 section 4.2).
const dnsPort = 53

// dns maps name servers to the loopback addresses that represent them. Programs mostly
// ask those of resolv.conf(5).
type dns struct {
	mu      sync.RWMutex
	proxies map[netip.AddrPort]netip.AddrPort // by server
	servers map[netip.AddrPort]netip.AddrPort // by proxy
}

// maxNameServers bounds the table; servers beyond it are left to the host.
const maxNameServers = 64

// server returns the name server that a proxy represents.
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

// A nameServer says who answers what a program sends to port 53 of an address.
type nameServer int

const (
	notNameServer nameServer = iota // the socket with that port, as for any other port
	// the node's resolver, for a server of resolv.conf(5)
	hostNameServer
	otherNameServer // that server, except for questions about the network's names
)

// nameServerAt returns who answers what is sent to addr over one protocol. has reports
// whether a program of the node has port 53 of any of the given addresses, over that
// protocol. The network has no name servers. A program that listens on port 53 of
// localhost receives what is sent there.
func (c *core) nameServerAt(addr netip.AddrPort,
	has func(...netip.Addr) bool) nameServer {
	a := addr.Addr()
	if addr.Port() != dnsPort || c.Resolver == nil || c.inNetwork(a) {
		return notNameServer
	}
	local := localhostOf(a)
	switch {
	case (local == localhost4 || local == netip.IPv6Loopback()) &&
		has(local, wildcardOf(a)):
		return notNameServer
	case c.Resolver.Serves(local): // also 127.0.0.53, where the host's own server is
		return hostNameServer
	case a.IsUnspecified(), a.IsMulticast(), a == broadcast4:
		return notNameServer
	case a.IsLoopback() && a.Is4() && has(netip.IPv4Unspecified()):
		// 127.0.0.2
		return notNameServer
	case a.Is6() && !c.Addr6.IsValid(): // no flow or gate can represent IPv6 endpoints
		return notNameServer
	}
	return otherNameServer
}

// localhostOf returns the address to which Linux sends if the destination is a wildcard,
// and other addresses unchanged.
func localhostOf(a netip.Addr) netip.Addr {
	switch a {
	case netip.IPv4Unspecified():
		return localhost4
	case netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return a
}

// hasNameServer reports whether a program of the node listens on port 53 of one of these
// addresses. It returns true if that is not known.
func (n *Node) hasNameServer(addrs ...netip.Addr) bool {
	found, err := n.listeners.live(dnsPort, addrs...)
	return err != nil || len(found) > 0
}

// hasNameServer reports whether a program of the node has port 53 of one of these
// addresses. It asks the kernel, because closing a socket is not trapped.
func (u *udp) hasNameServer(addrs ...netip.Addr) bool {
	for _, l := range u.ports.find(dnsPort, addrs...) {
		if probe(unix.SOCK_DGRAM, -1, l.kernel) != nil {
			return true
		}
		u.ports.gone(l.kernel)
	}
	return false
}

// proxy returns the loopback address that represents a name server.
func (c *core) proxy(server netip.AddrPort) (netip.AddrPort, bool) {
	d := &c.dns
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
	p, err := c.Resolver.Proxy(server)
	if err != nil {
		c.Logger.Warn("name server", "server", server, "err", err)
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

// routed returns the kernel's error for sending to an outside address, such as
// ENETUNREACH. It sends nothing.
func routed(addr netip.AddrPort) error {
	domain := unix.AF_INET
	if addr.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := linux.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // the kernel reports the error when the program sends
	}
	defer linux.Close(fd)
	return connectTo(fd, domain, addr)
}

// answerOwn answers a datagram from a program to a name server of its own choice, if the
// datagram asks for names of the network.
func (u *udp) answerOwn(fl *flow, from netip.AddrPort, query []byte) bool {
	if fl.peer.Port() != dnsPort || u.Resolver == nil {
		return false
	}
	answer := u.Resolver.Own(u.asker(fl, from), query)
	if answer == nil {
		return false
	}
	u.deliverTo(fl, from, stream.IPFields{}, answer)
	return true
}

// An Asker describes a program that asks a name server of its own choice.
type Asker struct {
	TID     int            // the asking thread; 0: not known, or no trace
	Program netip.AddrPort // kernel address of its UDP socket; zero for TCP
	Server  netip.AddrPort // the name server
}

// asks records that a thread is about to ask a name server of its own choice through a
// socket, for traces.
func (u *udp) asks(s *progSocket, tid int) {
	if u.tracing.Load() == nil {
		return
	}
	if id, err := s.cookie(); err == nil {
		u.admitted.note(id, tid)
	}
}

// asker returns who has sent a flow's server a datagram.
func (u *udp) asker(fl *flow, program netip.AddrPort) Asker {
	a := Asker{Program: program, Server: fl.peer}
	if u.tracing.Load() == nil {
		return a
	}
	if s, found, err := u.diag.Datagram(program, fl.local); err == nil && found {
		a.TID, _ = u.admitted.shownBy(s.Cookie)
	}
	return a
}

// answered passes the resolver a datagram of a name server that a program has chosen.
func (u *udp) answered(program, server netip.AddrPort, b []byte) {
	if server.Port() == dnsPort && u.Resolver != nil && u.tracing.Load() != nil {
		u.Resolver.Answered(Asker{Program: program, Server: server}, b)
	}
}
