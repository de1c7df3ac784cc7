package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Protocol is the ALPN protocol of a tunnel (RFC 7301).
const Protocol = "boxer-tunnel/1"

// Limits of a Server: tunnels of all clients, tunnels of one IP address, and the time
// that a TLS handshake may take.
const (
	maxTunnels       = 16384
	maxPerAddress    = 1024
	handshakeTimeout = 10 * time.Second
)

// A Server accepts tunnels to one UDP address of this host.
type Server struct {
	listener net.Listener
	config   *tls.Config
	target   netip.AddrPort

	mu      sync.Mutex
	count   int
	perAddr map[netip.Addr]int
	clients map[netip.AddrPort]netip.AddrPort // by loopback address: the client's
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
		perAddr: make(map[netip.Addr]int),
		clients: make(map[netip.AddrPort]netip.AddrPort)}
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
	_ = pump(udp, stream)
	s.mu.Lock()
	delete(s.clients, own)
	s.mu.Unlock()
}

// loopbackFor returns the loopback address that stands for a client's: the coordinator's
// limits for each IP address count the clients of one address together, and others apart.
func loopbackFor(client netip.Addr) netip.Addr {
	if client.Is6() { // one customer has a whole /64
		prefix, _ := client.Prefix(64)
		client = prefix.Addr()
	}
	sum := sha256.Sum256(client.AsSlice())
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

func (s *Server) enter(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= maxTunnels || s.perAddr[from] >= maxPerAddress {
		return false
	}
	s.count++
	s.perAddr[from]++
	return true
}

func (s *Server) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if s.perAddr[from]--; s.perAddr[from] == 0 {
		delete(s.perAddr, from)
	}
}
