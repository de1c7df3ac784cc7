package coordinator

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

const (
	// maxStrangers bounds the connections that have not joined yet; each holds a
	// few ten KiB for at most helloTimeout after its handshake.
	maxStrangers = 1024
	// maxStrangersSource bounds those from one IPv4 address or IPv6 /64: a whole
	// fleet may sit behind one NAT, but it leaves room for others.
	maxStrangersSource = 768
	// validateAbove is the number of strangers above which a source address has
	// to prove itself by a Retry (RFC 9000 section 8.1.2), which costs a round trip:
	// above it, forged addresses cannot take up the places.
	validateAbove = 256
)

var errCrowd = errors.New("too many connections that have not joined")

// A gate counts the connections from their first packet until they have joined.
type gate struct {
	mu       sync.Mutex
	total    int
	bySource map[netip.Addr]int
}

// passKey is the context key of a connection's way out of the gate.
type passKey struct{}

func newGate() *gate { return &gate{bySource: make(map[netip.Addr]int)} }

// enter counts a connection from addr until it ends (ctx does) or joins. It
// meets quic.Transport.ConnContext.
func (g *gate) enter(ctx context.Context, addr net.Addr) (context.Context, error) {
	source := sourceOf(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= maxStrangers || g.bySource[source] >= maxStrangersSource {
		return nil, errCrowd
	}
	g.total++
	g.bySource[source]++
	leave := sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
		if g.bySource[source]--; g.bySource[source] == 0 {
			delete(g.bySource, source)
		}
	})
	context.AfterFunc(ctx, leave)
	return context.WithValue(ctx, passKey{}, leave), nil
}

// pass says that the connection with that context has joined.
func pass(ctx context.Context) {
	if leave, ok := ctx.Value(passKey{}).(func()); ok {
		leave()
	}
}

// crowded tells whether source addresses have to be validated.
func (g *gate) crowded(net.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total >= validateAbove
}

func sourceOf(addr net.Addr) netip.Addr {
	ip := addrPortOf(addr).Addr()
	if ip.Is6() {
		p, err := ip.WithZone("").Prefix(64)
		if err == nil {
			return p.Addr()
		}
	}
	return ip
}

// addrPortOf returns a UDP address of package net as a value; the zero AddrPort
// if it is no UDP address.
func addrPortOf(addr net.Addr) netip.AddrPort {
	if u, ok := addr.(*net.UDPAddr); ok {
		return unmap(u.AddrPort())
	}
	return netip.AddrPort{}
}
