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
	maxUnauthenticated = 1024
	// maxStrangersSource bounds those from one IPv4 address or IPv6 /64: a whole
	// fleet may sit behind one NAT, but it leaves room for others.
	maxUnauthenticatedPerSource = 768
	// validateAbove is the number of strangers above which a source address has
	// to prove itself by a Retry (RFC 9000 section 8.1.2), which costs a round trip:
	// above it, forged addresses cannot take up the places.
	validateAbove = 256
)

var errTooManyHandshakes = errors.New("too many connections that have not joined")

// A gate counts the connections from their first packet until they have joined.
type handshakeLimiter struct {
	mu       sync.Mutex
	total    int
	bySource map[netip.Addr]int
}

// passKey is the context key of a connection's way out of the gate.
type releaseKey struct{}

func newHandshakeLimiter() *handshakeLimiter {
	return &handshakeLimiter{bySource: make(map[netip.Addr]int)}
}

// enter counts a connection from addr until it ends (ctx does) or joins. It
// meets quic.Transport.ConnContext.
func (l *handshakeLimiter) acquire(ctx context.Context, addr net.Addr) (context.Context, error) {
	source := sourceOf(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxUnauthenticated || l.bySource[source] >= maxUnauthenticatedPerSource {
		return nil, errTooManyHandshakes
	}
	l.total++
	l.bySource[source]++
	release := sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.bySource[source]--; l.bySource[source] == 0 {
			delete(l.bySource, source)
		}
	})
	context.AfterFunc(ctx, release)
	return context.WithValue(ctx, releaseKey{}, release), nil
}

// pass says that the connection with that context has joined.
func releaseHandshake(ctx context.Context) {
	if release, ok := ctx.Value(releaseKey{}).(func()); ok {
		release()
	}
}

// crowded tells whether source addresses have to be validated.
func (l *handshakeLimiter) mustValidate(net.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total >= validateAbove
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
