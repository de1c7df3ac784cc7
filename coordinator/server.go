package coordinator

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport"
	"github.com/boxer-sandbox/boxer/transport/tunnel"
)

// DefaultLease is how long a node that is no longer heard stays a member. A client sends
// a heartbeat at least every third of it.
const DefaultLease = 8 * time.Second

// A ServerConfig configures a coordinator.
type ServerConfig struct {
	// Socket is where the coordinator serves QUIC, STUN and the relay. It belongs to the
	// caller, who closes it after Serve has returned. No QUIC connection may have been
	// opened on it before NewServer.
	Socket ServerSocket
	State  *State // key, tokens and serial

	Prefix  netip.Prefix  // of the virtual IPv4 addresses; zero means DefaultPrefix
	Prefix6 netip.Prefix  // of the virtual IPv6 addresses; zero means that there are none
	Lease   time.Duration // zero means DefaultLease

	// SleepLease is how long a node that is asleep stays a member; zero means
	// DefaultSleepLease.
	SleepLease time.Duration

	// DataPath is what may carry connections between nodes; empty means DataPathQUIC.
	// Nodes that have joined before keep what they were told.
	DataPath DataPath

	// IdleExit ends Serve when the network has had no member for that long, also after
	// the start. Zero means never.
	IdleExit time.Duration

	// JoinFile, if not empty, is the file into which the server writes the join URL when
	// it is ready; see PublishJoin. Host is the HOST:PORT in that URL. If Host is empty,
	// the socket's own address is used, or loopback if the socket has no address of its
	// own.
	JoinFile string
	Host     string

	// PolicyFile is a file with the policy of the network (package policy), which the
	// server watches. Empty: the policy that Admin.ApplyPolicy has stored, or none.
	PolicyFile string

	// AuditFile is the file to which the server appends an AuditEvent for each join,
	// refusal, eviction and change of tokens or policy; empty: none.
	AuditFile string

	// AdminSocket is the path of the Unix socket for Admin; empty: none.
	AdminSocket string

	// TLSListen is the TCP address at which nodes reach the coordinator by TLS where no
	// UDP gets through; empty: none.
	TLSListen string

	// StatusListen is the TCP address of the HTTP status port; empty: none.
	StatusListen string

	Version string       // of the program, for Snapshot
	Logger  *slog.Logger // nil: none
}

// A Server is a coordinator: it admits nodes, and tells them about each other.
type Server struct {
	cfg        ServerConfig
	log        *slog.Logger
	startMono  time.Time // with a monotonic clock reading
	started    time.Time // the same time, without one, for Snapshot
	members    *membership
	probes     livenessProbes
	relays     *relayTable
	handshakes *handshakeLimiter
	listener   *quic.Listener
	status     net.Listener   // nil: none
	tunnels    *tunnel.Server // nil: none

	audit    *auditLog // nil: none
	metrics  *serverMetrics
	ready    atomic.Bool // Serve admits nodes
	policy   policySource
	policyMu sync.Mutex // held by ApplyPolicy

	deadSessions chan *session // sessions of nodes whose last will has arrived

	// uptime of the last warning about a refused version
	versionLoggedAt atomic.Int64

	// Constants, except in tests.
	helloTimeout, linger, deadAfter, maxHold time.Duration
}

// NewServer returns a coordinator that already listens. It answers once Serve runs. The
// caller has to call Serve, which also releases what NewServer has taken.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Prefix == (netip.Prefix{}) {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.SleepLease == 0 {
		cfg.SleepLease = DefaultSleepLease
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := newAddressPlan(cfg.Prefix, cfg.Prefix6)
	if err != nil {
		return nil, err
	}
	source := newPolicySource(cfg.PolicyFile, cfg.State)
	given, err := source.load()
	if err != nil {
		return nil, err
	}
	r, err := newMembership(p, cfg.State, cfg.Lease, cfg.Logger)
	if err != nil {
		return nil, err
	}
	r.setPolicy(given)
	s := &Server{
		cfg: cfg, log: cfg.Logger, startMono: time.Now(),
		started: time.Now().UTC().Truncate(time.Millisecond),
		policy:  source,
		members: r, relays: r.relays, handshakes: newHandshakeLimiter(),
		deadSessions: make(chan *session, 256),
		helloTimeout: helloTimeout, linger: idleLinger,
		deadAfter: deadAfterFor(cfg.Lease), maxHold: maxHold,
	}
	s.metrics = newMetrics(s)
	if cfg.Host == "" {
		s.cfg.Host = ownHost(cfg.Socket.LocalAddr())
	}
	if s.audit, err = openAudit(cfg.AuditFile, s.log); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.audit.close())
	}
	if err := cfg.State.setListen(cfg.Socket.LocalAddr()); err != nil {
		s.log.Error("coordinator state not saved; it may listen elsewhere next time",
			"err", err)
	}
	return s, nil
}

func (s *Server) listen() error {
	seed := s.cfg.State.file.Seed
	reset, err := hkdf.Key(sha256.New, seed, nil, "boxer coordinator stateless reset 1", 32)
	if err != nil {
		return fmt.Errorf("derive reset key: %w", err)
	}
	if s.cfg.StatusListen != "" {
		if s.status, err = net.Listen("tcp", s.cfg.StatusListen); err != nil {
			return fmt.Errorf("status port: %w", err)
		}
	}
	if err := s.listenTLS(); err != nil {
		s.closeStatus()
		return err
	}
	q := s.cfg.Socket.QUIC()
	// The key is the same in every run. So nodes that still use a connection of an
	// earlier run get a stateless reset at once (RFC 9000 section 10.3).
	q.StatelessResetKey = (*quic.StatelessResetKey)(reset)
	q.VerifySourceAddress = s.handshakes.mustValidate
	q.ConnContext = func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
		return s.handshakes.acquire(ctx, info.RemoteAddr)
	}
	s.listener, err = q.Listen(serverTLS(s.cfg.State.Identity()), s.quicConfig())
	if err != nil {
		s.closeStatus()
		if s.tunnels != nil {
			s.tunnels.Close()
		}
		return fmt.Errorf("listen %v: %w", s.cfg.Socket.LocalAddr(), err)
	}
	return nil
}

func (s *Server) closeStatus() {
	if s.status != nil {
		_ = s.status.Close()
	}
}

// listenTLS opens the port for nodes that cannot use UDP.
func (s *Server) listenTLS() error {
	if s.cfg.TLSListen == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.cfg.TLSListen)
	if err != nil {
		return fmt.Errorf("TLS port: %w", err)
	}
	s.tunnels = tunnel.NewServer(l, &tls.Config{
		Certificates: []tls.Certificate{s.cfg.State.Identity().Certificate()},
		MinVersion:   tls.VersionTLS13,
	}, s.cfg.Socket.LocalAddr())
	s.members.tunnels = s.tunnels
	return nil
}

// serverTLS requires a key of every client, and accepts any key. The hello decides what
// the key may do.
func serverTLS(id *transport.Identity) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{id.Certificate()},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocolName},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := transport.PeerKey(state)
			return err
		},
	}
}

// uptime is the server's clock for leases. It does not jump as the time of day can, and
// it stands still while the machine is suspended.
func (s *Server) uptime() time.Duration { return time.Since(s.startMono) }

// quicConfig allows one stream with small windows. A control stream carries little data,
// and an unauthenticated client must not occupy much memory.
func (s *Server) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           helloTimeout,
		MaxIdleTimeout:                 max(idleTimeout, s.cfg.Lease),
		MaxIncomingStreams:             1,
		MaxIncomingUniStreams:          -1,
		InitialStreamReceiveWindow:     64 << 10,
		InitialConnectionReceiveWindow: 64 << 10,
		MaxStreamReceiveWindow:         2 * maxFrame,
		MaxConnectionReceiveWindow:     2 * maxFrame,
	}
}

// Serve serves until ctx ends, or until IdleExit has passed without a member. It returns
// nil in both cases. When it returns, every connection is closed and all goroutines of
// the server have ended.
func (s *Server) Serve(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	forget := false
	defer func() {
		cancel()
		s.ready.Store(false)
		s.members.freeze() // before any connection ends
		stop()
		_ = s.listener.Close()
		all.Wait()
		if e := s.members.close(forget); err == nil {
			err = e
		}
		s.audit.write(AuditEvent{Event: "stop"})
		_ = s.audit.close()
	}()
	s.audit.write(AuditEvent{Event: "start"})
	var join *JoinFile
	if s.cfg.JoinFile != "" {
		u, err := s.JoinURL(s.cfg.Host)
		switch {
		case errors.Is(err, ErrExpired):
			s.log.Warn("the join file is not written, because the default token was revoked or has expired; create tokens with boxer coordinator token create",
				"file", s.cfg.JoinFile)
		case err != nil:
			return err
		default:
			if join, err = PublishJoin(s.cfg.JoinFile, u); err != nil {
				return err
			}
		}
	}
	s.cfg.Socket.ServeSTUN()
	s.cfg.Socket.HandleRelay(s.relay)
	s.cfg.Socket.HandleIndication(s.handleWill)
	if s.status != nil {
		all.Go(func() { s.serveStatus(ctx) })
	}
	if s.tunnels != nil {
		all.Go(func() {
			if err := s.tunnels.Serve(ctx); err != nil {
				s.log.Error("TLS port ended", "err", err)
			}
		})
	}
	if s.cfg.AdminSocket != "" {
		all.Go(func() { s.serveAdmin(ctx) })
	}
	all.Go(func() {
		// on this goroutine, since maintain withdraws and restores the file
		defer join.Close()
		forget = s.maintain(ctx, join)
		cancel()
	})
	s.ready.Store(true)
	ended := make(chan error, acceptors)
	for range acceptors {
		all.Go(func() {
			ended <- s.accept(ctx, func(conn *quic.Conn) { all.Go(func() { s.serveConn(serving, conn) }) })
		})
	}
	return <-ended // the other goroutines end with the listener
}

// acceptors is the number of goroutines that accept connections. quic-go refuses a
// connection if 32 wait to be accepted, and the node then repeats the whole handshake.
// When hundreds of nodes join at once on a busy machine, one goroutine does not run often
// enough.
const acceptors = 128

// accept calls serve for each connection until ctx ends.
func (s *Server) accept(ctx context.Context, serve func(*quic.Conn)) error {
	for {
		conn, err := s.listener.Accept(ctx)
		switch {
		case err == nil:
			serve(conn)
		case ctx.Err() != nil || errors.Is(err, quic.ErrServerClosed):
			return nil
		default:
			return fmt.Errorf("accept on %v: %w", s.cfg.Socket.LocalAddr(), err)
		}
	}
}

// JoinURL returns the URL with which nodes join. hostport is the coordinator's address as
// the nodes reach it.
func (s *Server) JoinURL(hostport string) (JoinURL, error) {
	if err := checkHostPort(hostport); err != nil {
		return JoinURL{}, fmt.Errorf("join URL for %q: %w", hostport, err)
	}
	t, err := s.cfg.State.Token()
	if err != nil {
		return JoinURL{}, err
	}
	return JoinURL{Token: t.Secret, Host: hostport, Pin: s.cfg.State.Pin()}, nil
}

// StatusAddr returns the address of the HTTP status port, or nil if there is none.
func (s *Server) StatusAddr() net.Addr {
	if s.status == nil {
		return nil
	}
	return s.status.Addr()
}

// Snapshot returns the current state of the network.
func (s *Server) Snapshot() Snapshot {
	return Snapshot{Version: s.cfg.Version, Prefix: s.members.plan.prefix,
		Prefix6: s.members.plan.prefix6,
		Started: s.started, Members: s.members.snapshot()}
}

// serveStatus serves the HTTP status port until ctx ends.
func (s *Server) serveStatus(ctx context.Context) {
	server := &http.Server{Handler: s.Handler(), ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(s.status); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("status port ended", "addr", s.status.Addr(), "err", err)
	}
}

// ownHost returns the HOST:PORT under which a process of this host reaches addr.
func ownHost(addr netip.AddrPort) string {
	if addr = unmap(addr); addr.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}),
			addr.Port()).String()
	}
	return addr.String()
}
