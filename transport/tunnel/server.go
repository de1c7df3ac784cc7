package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Protocol is the ALPN protocol of a tunnel (RFC 7301).
const Protocol = "boxer-tunnel/1"

// Limits of a Server: tunnels of all clients, tunnels of one IPv4 address or IPv6 /64
// prefix, and the time that a TLS handshake may take.
const (
	maxTunnels       = 16384
	maxPerSource     = 1024
	handshakeTimeout = 10 * time.Second
)

// A client of a tunnel shows no key and no token. So a tunnel lasts only while the target
// answers the client: it ends when the target has sent nothing for firstAnswer after the
// handshake, or for nextAnswer later. A node's heartbeats are answered every few seconds.
const (
	firstAnswer = 10 * time.Second
	nextAnswer  = time.Minute
)

// A Server accepts tunnels to one UDP address of this host.
type Server struct {
	listener net.Listener
	config   *tls.Config
	target   netip.AddrPort

	firstAnswer, nextAnswer time.Duration // as the constants; tests shorten them

	mu        sync.Mutex
	count     int
	perSource map[netip.Addr]int                // by sourceOf
	clients   map[netip.AddrPort]netip.AddrPort // by loopback address: the client's
}

// NewServer returns a server that accepts TLS on the listener. target is where the
// datagrams go; an unspecified address stands for loopback.
func NewServer(l net.Listener, config *tls.Config, target netip.AddrPort) *Server {
	if target.Addr().IsUnspecified() {
		target = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), target.Port())
	}
	config = config.Clone()
	config.NextProtos = []string{Protocol}
	return &Server{listener: l, config: config, target: target,
		firstAnswer: firstAnswer, nextAnswer: nextAnswer,
		perSource: make(map[netip.Addr]int),
		clients:   make(map[netip.AddrPort]netip.AddrPort)}
}

// Serve accepts tunnels until ctx ends. It returns when all have ended.
func (s *Server) Serve(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.listener.Close() })()
	for {
		c, err := s.listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // of one connection, or no descriptor is free
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		all.Go(func() { s.serve(ctx, c) })
	}
}

// Close closes the listener of a server that does not serve.
func (s *Server) Close() { _ = s.listener.Close() }

// serve carries one tunnel.
func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	from := netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
	if !s.enter(from.Addr()) {
		return
	}
	defer s.leave(from.Addr())
	stream := tls.Server(c, s.config)
	soon, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err := stream.HandshakeContext(soon)
	cancel()
	if err != nil || stream.ConnectionState().NegotiatedProtocol != Protocol {
		return
	}
	udp, err := net.DialUDP("udp4", &net.UDPAddr{IP: loopbackFor(from.Addr()).AsSlice()},
		net.UDPAddrFromAddrPort(s.target))
	if err != nil {
		return
	}
	own := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	own = netip.AddrPortFrom(own.Addr().Unmap(), own.Port())
	s.mu.Lock()
	s.clients[own] = from
	s.mu.Unlock()
	var answers atomic.Int64
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { s.endUnanswered(c, &answers, done) })
	_ = pump(udp, stream, &answers)
	close(done)
	watch.Wait()
	s.mu.Lock()
	delete(s.clients, own)
	s.mu.Unlock()
}

// endUnanswered closes the connection of a tunnel when the target stops answering, and
// returns then or when done is closed. answers counts the target's datagrams.
func (s *Server) endUnanswered(c net.Conn, answers *atomic.Int64, done <-chan struct{}) {
	timer := time.NewTimer(s.firstAnswer)
	defer timer.Stop()
	for before := int64(0); ; {
		select {
		case <-done:
			return
		case <-timer.C:
		}
		now := answers.Load()
		if now == before {
			_ = c.Close()
			return
		}
		before = now
		timer.Reset(s.nextAnswer)
	}
}

// sourceOf returns what stands for a client in limits: its IPv4 address, or its IPv6 /64
// prefix, which one customer has as a whole.
func sourceOf(client netip.Addr) netip.Addr {
	if client.Is6() {
		if prefix, err := client.WithZone("").Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return client
}

// loopbackFor returns the loopback address that stands for a client's: the coordinator's
// limits for each IP address count the clients of one address together, and others apart.
func loopbackFor(client netip.Addr) netip.Addr {
	sum := sha256.Sum256(sourceOf(client).AsSlice())
	return netip.AddrFrom4([4]byte{127, sum[0] | 0x80, sum[1], sum[2]&0x7f | 1})
}

// Client returns the address of the client whose datagrams come from a UDP address, if a
// tunnel has that.
func (s *Server) Client(from netip.AddrPort) (client netip.AddrPort, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client, ok = s.clients[from]
	return client, ok
}

// Count returns the number of tunnels.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

// enter counts a tunnel of a client, unless there are too many.
func (s *Server) enter(client netip.Addr) bool {
	from := sourceOf(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= maxTunnels || s.perSource[from] >= maxPerSource {
		return false
	}
	s.count++
	s.perSource[from]++
	return true
}

func (s *Server) leave(client netip.Addr) {
	from := sourceOf(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if s.perSource[from]--; s.perSource[from] == 0 {
		delete(s.perSource, from)
	}
}
