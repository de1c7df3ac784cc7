package launcher

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/resolver"
	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// directory implements resolver.Names by a network's members.
type directory struct{ client *coordinator.Client }

func (d directory) LookupName(name string) []netip.Addr {
	var addrs []netip.Addr
	for _, m := range d.client.LookupName(name) {
		addrs = append(addrs, m.Addr)
		if m.Addr6.IsValid() {
			addrs = append(addrs, m.Addr6)
		}
	}
	return addrs
}

func (d directory) HadName(name string) bool { return d.client.HadName(name) }

func (d directory) LookupAddr(a netip.Addr) (string, bool) {
	m, ok := d.client.ByAddr(a)
	return m.Name, ok
}

func (d directory) Prefixes() [2]netip.Prefix {
	return [...]netip.Prefix{d.client.Prefix(), d.client.Prefix6()}
}

// proxies represents the name servers that programs ask. Each server has its own address
// here, so the programs can tell the servers' answers apart.
type proxies struct {
	at     netip.Addr // the node's loopback address for name servers
	server *resolver.Server
	// observes records the thread that asks a server of its own choice. It reports
	// whether the question is traced.
	observes func(tid int) bool
}

func clientOf(a syscalls.Asker) resolver.Client {
	return resolver.Client{Asker: a.TID, Program: a.Program, Server: a.Server}
}

// Serves implements syscalls.Resolver.
func (p proxies) Serves(server netip.Addr) bool { return p.server.Serves(server) }

// Own implements syscalls.Resolver.
func (p proxies) Own(by syscalls.Asker, query []byte) []byte {
	if p.observes(by.TID) {
		return p.server.Pass(clientOf(by), query)
	}
	return p.server.Own(query, false)
}

// Answered implements syscalls.Resolver.
func (p proxies) Answered(to syscalls.Asker,
	answer []byte) {
	p.server.Passed(clientOf(to), answer)
}

// Dial implements syscalls.Resolver.
func (p proxies) Dial(ctx context.Context, by syscalls.Asker) (syscalls.Stream, error) {
	s, err := p.server.DialFor(ctx, clientOf(by), p.observes(by.TID))
	if err != nil {
		return nil, err
	}
	return nameStream{Stream: s}, nil
}

// A nameStream is a TCP connection to a name server as a syscalls.Stream.
type nameStream struct {
	*resolver.Stream
	stream.NoUrgent
	stream.NoIPFields
}

var _ syscalls.Stream = nameStream{}

// proxyTries bounds how many ports Proxy tries. The port must be free for both UDP and
// TCP.
const proxyTries = 16

// Proxy implements syscalls.Resolver.
func (p proxies) Proxy(server netip.AddrPort) (netip.AddrPort, error) {
	var err error
	for range proxyTries {
		var u *net.UDPConn
		u, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.at, 0)))
		if err != nil {
			continue
		}
		addr := u.LocalAddr().(*net.UDPAddr).AddrPort()
		var t *net.TCPListener
		t, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
		if err != nil {
			u.Close()
			continue
		}
		p.server.StandIn(u.LocalAddr(), server)
		p.server.StandIn(t.Addr(), server)
		p.server.ServeUDP(u)
		p.server.ServeTCP(t)
		return addr, nil
	}
	return netip.AddrPort{}, fmt.Errorf("resolver at %v: %w", p.at, err)
}
