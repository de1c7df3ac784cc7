package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
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

// Who answers what a program sends to a port 53.
type nameServer int

const (
	notNameServer nameServer = iota // whoever has that port: it is an ordinary one
	// the node's resolver, in place of one of resolv.conf(5)
	hostNameServer
	otherNameServer // that server, but for the names of the network
)

// nameServerAt tells who answers what is sent to addr over the protocol of has, which
// reports whether a program of the node has port 53 of one of some addresses.
// The network has no name servers, and a program that listens on port 53 of localhost
// gets what is sent there.
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
	case c.Resolver.Serves(local): // 127.0.0.53, too, which the host's own server has
		return hostNameServer
	case a.IsUnspecified(), a.IsMulticast(), a == broadcast4:
		return notNameServer
	case a.IsLoopback() && a.Is4() && has(netip.IPv4Unspecified()):
		// 127.0.0.2
		return notNameServer
	case a.Is6() && !c.Addr6.IsValid(): // nothing stands for IPv6 endpoints
		return notNameServer
	}
	return otherNameServer
}

// localhostOf returns the address that Linux takes for the wildcard as a destination, and
// other addresses as they are.
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
// addresses, or whether that is not known.
func (n *Node) hasNameServer(addrs ...netip.Addr) bool {
	found, err := n.live(dnsPort, addrs...)
	return err != nil || len(found) > 0
}

// hasNameServer reports whether a program of the node has port 53 of one of these
// addresses. One that has closed its socket has told nobody, so the kernel is asked.
func (u *udp) hasNameServer(addrs ...netip.Addr) bool {
	for _, l := range u.ports.find(dnsPort, addrs...) {
		if probe(unix.SOCK_DGRAM, -1, l.kernel) != nil {
			return true
		}
		u.ports.gone(l.kernel)
	}
	return false
}

// proxy returns the address that answers in place of the server.
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

// routed returns the error that the kernel has for sending to an address of the outside,
// such as ENETUNREACH. Nothing is sent.
func routed(addr netip.AddrPort) error {
	domain := unix.AF_INET
	if addr.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := linux.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // the kernel may know when it comes to that
	}
	defer linux.Close(fd)
	return connectTo(fd, domain, addr)
}

// answerOwn answers what a program has sent through a flow to a name server of its own
// choice, if it is about the names of the network.
func (u *udp) answerOwn(fl *flow, from netip.AddrPort, query []byte) bool {
	if fl.peer.Port() != dnsPort || u.Resolver == nil {
		return false
	}
	answer := u.Resolver.Own(u.asker(fl, from), query)
	if answer == nil {
		return false
	}
	u.deliverTo(fl, from, answer)
	return true
}

// An Asker is what is known of who asks a name server of a program's own choice.
type Asker struct {
	TID     int            // the thread that asks; 0: not known, or nobody traces
	Program netip.AddrPort // the kernel address of its socket; of TCP: not set
	Server  netip.AddrPort // whom it asks
}

// asks notes that a thread is about to ask a name server of its own choice through the
// socket. Only traces want to know.
func (u *udp) asks(s *progSocket, tid int) {
	if u.tracing.Load() == nil {
		return
	}
	if id, err := s.cookie(); err == nil {
		u.admitted.note(id, tid)
	}
}

// asker tells who has sent a flow's server a datagram.
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

// answered tells the resolver what a name server of a program's own choice has sent.
func (u *udp) answered(program, server netip.AddrPort, b []byte) {
	if server.Port() == dnsPort && u.Resolver != nil && u.tracing.Load() != nil {
		u.Resolver.Answered(Asker{Program: program, Server: server}, b)
	}
}
