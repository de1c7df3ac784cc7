package coordinator

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

const (
	// maxUnauthenticated limits the connections that have not joined yet. Each one holds
	// a few tens of KiB, for at most helloTimeout after its handshake.
	maxUnauthenticated = 1024
	// maxUnauthenticatedPerSource limits those from one IPv4 address or IPv6 /64 prefix.
	// A whole fleet may be behind one NAT, but other sources keep some room.
	maxUnauthenticatedPerSource = 768
	// validateAbove is the number of unauthenticated connections from which on the server
	// validates source addresses by a Retry (RFC 9000 section 8.1.2). A Retry costs a
	// round trip, and keeps forged addresses from occupying the places.
	validateAbove = 256
)

var errTooManyHandshakes = errors.New("too many connections that have not joined")

// A handshakeLimiter counts connections from their first packet until they have joined.
type handshakeLimiter struct {
	mu       sync.Mutex
	total    int
	bySource map[netip.Addr]int
}

// releaseKey is the context key of the function that releases a connection's place.
type releaseKey struct{}

func newHandshakeLimiter() *handshakeLimiter {
	return &handshakeLimiter{bySource: make(map[netip.Addr]int)}
}

// acquire counts a connection from addr until it has joined or ctx, its context, ends. It
// implements quic.Transport.ConnContext.
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

// releaseHandshake releases the place of the connection with that context: it has joined.
func releaseHandshake(ctx context.Context) {
	if release, ok := ctx.Value(releaseKey{}).(func()); ok {
		release()
	}
}

// mustValidate reports whether the server has to validate source addresses.
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

// addrPortOf converts a UDP address of package net. It returns the zero AddrPort for
// other addresses.
func addrPortOf(addr net.Addr) netip.AddrPort {
	if u, ok := addr.(*net.UDPAddr); ok {
		return unmap(u.AddrPort())
	}
	return netip.AddrPort{}
}
