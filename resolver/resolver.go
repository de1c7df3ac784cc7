// Package resolver answers DNS for the names of a network and forwards the rest
// to the host's resolver.
//
// A node's program asks whatever nameserver its resolv.conf names; the caller
// brings those questions here. What belongs to the network is answered from
// Names and never leaves the host: node names (bare, and below "boxer."), and the
// reverse names of the network's prefix. Every other question goes to the
// nameservers of resolv.conf byte for byte, and so does the answer on its way
// back. The name of a node below a search domain of resolv.conf(5), which glibc asks
// for first, is the node's if those nameservers say that they have no such name.
//
// A program may also name a nameserver of its own choice. What it asks there is that
// server's to answer, but for the names of the network: see Own and Dial.
//
// The formats are those of RFC 1035, with RFC 6891 (EDNS), RFC 2308
// (negative answers) and RFC 7766 (TCP).
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

// Names is what the resolver knows of the network. Its methods are called from
// many goroutines at once and must not block.
type Names interface {
	// LookupName returns the addresses, of either family, of the nodes called
	// name, in the order in which the answer shall have them; none if no node
	// has that name. The name is in lower case, without a trailing dot.
	LookupName(name string) []netip.Addr
	// HadName reports whether a node of that name, the last one, has left a short
	// while ago: nobody else is asked for it, which would take a program that
	// waits for the next one long, or elsewhere.
	HadName(name string) bool
	// LookupAddr returns the name of the node with that address.
	LookupAddr(addr netip.Addr) (name string, ok bool)
	// Prefixes are the network's address ranges: names for addresses inside them
	// are asked of nobody else. The zero Prefix contains no address.
	Prefixes() [2]netip.Prefix
}

// Config is what New needs.
type Config struct {
	Names Names
	// ResolvConf is the path of the host's resolv.conf(5), from which the
	// upstream nameservers and the search domains are read anew for each question that
	// needs them. Empty means /etc/resolv.conf.
	ResolvConf string
	// Admits, if not nil, says whether what came from the address source to the
	// server's socket at the address to, over "udp" or "tcp", is of a client that the
	// server is for, and which thread asks, 0 if that is not known. Others get no answer.
	// It must not block.
	Admits func(network string, source, to netip.AddrPort) (asker int, ok bool)
	// Logger receives what nobody else hears of; nil means slog.Default.
	Logger *slog.Logger
	// Observe, if not nil, is told of each question when it is answered. It must not
	// wait.
	Observe func(Question)
}

// A Question is one that was answered.
type Question struct {
	Began  time.Time
	Took   time.Duration
	Query  []byte         // as it came
	Answer []byte         // as it goes; nil: there is none
	Server netip.AddrPort // that the program has asked, if known
	Asker  int            // the thread that has asked; 0: not known
	// it was the network's to answer; others are for the host's nameservers
	Local  bool
	Passed bool  // or for Server, which the program has chosen
	Err    error // what kept those from answering
}

const (
	// maxQueries bounds the UDP questions worked on at once. Further ones wait in the
	// socket's buffer, and the kernel drops what does not fit there, as UDP may.
	maxQueries = 256
	// maxConns bounds the TCP connections served at once. Further ones wait in
	// the listen queue.
	maxConns = 64
)

// A Server answers the questions that arrive on the sockets it was given.
type Server struct {
	names      Names
	resolvConf string
	log        *slog.Logger
	observe    func(Question)
	admits     func(network string, source, to netip.AddrPort) (asker int, ok bool)
	port       uint16 // of the upstream nameservers; tests have theirs elsewhere
	// connects to an upstream nameserver: net.Dialer.DialContext, but in tests
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	outage  outage
	pending pendingQuestions

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the serving goroutines and all that they start

	mu       sync.Mutex
	standIns map[string]netip.AddrPort // by the address of the socket that stands in for it
	closed   bool
	socks    []closer // to be closed by Close
}

// A closer is a socket of the server: a net.PacketConn or a net.Listener.
type closer interface {
	Close() error
}

// New returns a server that has no socket yet: see ServeUDP and ServeTCP.
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

// StandIn notes that what comes to one of the server's sockets was sent to a nameserver,
// for Config.Observe.
func (s *Server) StandIn(own net.Addr, server netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standIns == nil {
		s.standIns = make(map[string]netip.AddrPort)
	}
	s.standIns[own.Network()+own.String()] = server
}

// standsIn returns the nameserver that was meant by what came to a socket.
func (s *Server) serverFor(own net.Addr) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standIns[own.Network()+own.String()]
}

// ServeUDP starts to answer the datagrams of conn and returns at once. The server owns
// conn from now on. It should be bound to one address: answers to questions that
// came to a wildcard socket may leave from another address than they asked.
func (s *Server) ServeUDP(conn net.PacketConn) {
	s.start(conn, func() { s.serveUDP(conn) })
}

// ServeTCP starts to answer the connections of l and returns at once. The server owns
// l from now on.
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

// Close closes the server's sockets, drops the questions in progress and waits for
// every goroutine. The second call does nothing.
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

// admitted reports whether a client is one that the server is for, and which thread asks.
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

// serves reports whether a question sent to addr would come back to this server.
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

// isLocal reports whether addr is one of this host's addresses.
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
