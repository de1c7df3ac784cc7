// Package resolver answers DNS queries for the names of a network, and forwards other
// queries to the host's nameservers.
//
// A program asks the nameserver that its resolv.conf names. The caller passes these
// queries to a Server. The Server answers queries for the network from Names, and they
// never leave the host: node names (bare, and below "boxer."), and reverse names in the
// network's prefix. It forwards every other query to the nameservers of resolv.conf
// unchanged, and returns their answers unchanged. glibc first asks for names below the
// search domains of resolv.conf(5). If the nameservers have no such name, and it is a
// node name below a search domain, the Server answers with the node's addresses.
//
// A program may also use a nameserver of its own choice. That nameserver answers the
// queries that it gets, except for names of the network: see Own and Dial.
//
// The formats are those of RFC 1035, RFC 6891 (EDNS), RFC 2308 (negative answers) and RFC
// 7766 (TCP).
package resolver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Names is what the resolver knows about the network. Many goroutines call its methods at
// once. They must not block.
type Names interface {
	// LookupName returns the addresses, of both families, of the nodes with that name, in
	// the order for the answer. It returns none if no node has the name. The name is in
	// lower case, without a trailing dot.
	LookupName(name string) []netip.Addr
	// HadName reports whether the last node with that name has left a short while ago.
	// The resolver then asks no nameserver: a program that waits for the next such node
	// would wait longer, or reach another host.
	HadName(name string) bool
	// LookupAddr returns the name of the node with that address.
	LookupAddr(addr netip.Addr) (name string, ok bool)
	// Prefixes returns the network's prefixes. The resolver asks no nameserver for
	// reverse names in them. The zero Prefix contains no address.
	Prefixes() [2]netip.Prefix
}

// Config configures a Server.
type Config struct {
	Names Names
	// ResolvConf is the path of the host's resolv.conf(5). The Server reads the
	// nameservers and search domains from it for each query that needs them. Empty means
	// /etc/resolv.conf.
	ResolvConf string
	// Admits, if not nil, reports whether the Server serves a client: the packet came
	// from the address source to the server's socket at the address to, over "udp" or
	// "tcp". It also returns the thread that asks, or 0 if that is unknown. Other clients
	// get no answer. Admits must not block.
	Admits func(network string, source, to netip.AddrPort) (asker int, ok bool)
	// Logger receives messages that no caller receives. nil means slog.Default.
	Logger *slog.Logger
	// Observe, if not nil, receives each question when it has been answered. It must not
	// block.
	Observe func(Question)
}

// A Question is a query and its answer.
type Question struct {
	Began  time.Time
	Took   time.Duration
	Query  []byte         // as the program sent it
	Answer []byte         // as the program receives it; nil: none
	Server netip.AddrPort // the nameserver that the program has asked, if known
	Asker  int            // the thread that has asked; 0: unknown
	// the network answered it; otherwise the host's nameservers did
	Local  bool
	Passed bool  // Server answered it, which the program has chosen itself
	Err    error // why there is no answer
}

const (
	// maxQueries limits the UDP queries in progress. Further ones wait in the socket's
	// buffer, and the kernel drops what does not fit, as UDP allows.
	maxQueries = 256
	// maxConns limits the TCP connections in progress. Further ones wait in the listen
	// queue.
	maxConns = 64
)

// A Server answers the queries that arrive on its sockets.
type Server struct {
	names      Names
	resolvConf string
	log        *slog.Logger
	observe    func(Question)
	admits     func(network string, source, to netip.AddrPort) (asker int, ok bool)
	port       uint16 // of the upstream nameservers; tests have theirs elsewhere
	// connects to a nameserver: net.Dialer.DialContext, except in tests
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	outage  outage
	pending pendingQuestions

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the serving goroutines, and all goroutines that they start

	mu       sync.Mutex
	standIns map[string]netip.AddrPort // by the address of the socket that stands in for the nameserver
	closed   bool
	socks    []closer // sockets for Close
}

// A closer is a socket of the server: a net.PacketConn or a net.Listener.
type closer interface {
	Close() error
}

// New returns a server without sockets: see ServeUDP and ServeTCP.
func New(cfg Config) *Server {
	s := &Server{names: cfg.Names, resolvConf: cfg.ResolvConf, log: cfg.Logger,
		observe: cfg.Observe, admits: cfg.Admits, port: 53,
		dial: new(net.Dialer).DialContext}
	if s.resolvConf == "" {
		s.resolvConf = "/etc/resolv.conf"
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// StandIn records that queries to one of the server's sockets were sent to the nameserver
// server. Config.Observe receives this address.
func (s *Server) StandIn(own net.Addr, server netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standIns == nil {
		s.standIns = make(map[string]netip.AddrPort)
	}
	s.standIns[own.Network()+own.String()] = server
}

// serverFor returns the nameserver for which a socket stands in.
func (s *Server) serverFor(own net.Addr) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standIns[own.Network()+own.String()]
}

// ServeUDP starts to answer the datagrams of conn, and returns at once. The server owns
// conn from now on. conn should be bound to one address: an answer from a wildcard socket
// may leave from another address than the query was sent to.
func (s *Server) ServeUDP(conn net.PacketConn) {
	s.start(conn, func() { s.serveUDP(conn) })
}

// ServeTCP starts to answer the connections of l, and returns at once. The server owns l
// from now on.
func (s *Server) ServeTCP(l net.Listener) {
	s.start(l, func() { s.serveTCP(l) })
}

// start runs serve, which ends when sock is closed.
func (s *Server) start(sock closer, serve func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		sock.Close()
		return
	}
	s.socks = append(s.socks, sock)
	s.running.Go(serve)
}

// Close closes the server's sockets, cancels the queries in progress, and waits for every
// goroutine. A second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	var errs []error
	if !s.closed {
		s.closed = true
		s.cancel()
		for _, sock := range s.socks {
			errs = append(errs, sock.Close())
		}
	}
	s.mu.Unlock()
	s.running.Wait()
	return errors.Join(errs...)
}

// admit reports whether the server serves a client, and which thread asks.
func (s *Server) admit(client, own net.Addr) (asker int, ok bool) {
	if s.admits == nil {
		return 0, true
	}
	source, err := netip.ParseAddrPort(client.String())
	to, err2 := netip.ParseAddrPort(own.String())
	if err != nil || err2 != nil {
		return 0, false
	}
	return s.admits(client.Network(), source, to)
}

// isSelf reports whether a query to addr would come back to this server.
func (s *Server) isSelf(addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sock := range s.socks {
		var own net.Addr
		switch sock := sock.(type) {
		case net.PacketConn:
			own = sock.LocalAddr()
		case net.Listener:
			own = sock.Addr()
		}
		ap, err := netip.ParseAddrPort(own.String())
		if err != nil || ap.Port() != addr.Port() {
			continue
		}
		if ap.Addr().Unmap() == addr.Addr() || ap.Addr().IsUnspecified() &&
			isLocal(addr.Addr()) {
			return true
		}
	}
	return false
}

// isLocal reports whether addr is an address of this host.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil &&
			p.Addr() == addr.WithZone("") {
			return true
		}
	}
	return false
}
