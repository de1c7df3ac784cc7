package launcher

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// MeetConfig has the parameters of Meet.
type MeetConfig struct {
	Join    coordinator.JoinURL
	Version string // of boxer; boxer status shows it
	Logger  *slog.Logger

	Congestion transport.Congestion // of the connections
}

// A Meeting is a member of the network that accepts connections of supervisors (see
// Link). With it, a launcher controls programs on machines that accept no connections.
// Every node of the network can connect to a Meeting, so the first bytes of a connection
// must prove who the peer is.
type Meeting struct {
	m     *member
	at    netip.AddrPort
	conns chan *transport.Stream
	ended chan struct{}
}

// meetingBacklog bounds the connections that wait for Accept.
const meetingBacklog = 128

// Meet joins the network.
func Meet(ctx context.Context, cfg MeetConfig) (*Meeting, error) {
	meeting := &Meeting{conns: make(chan *transport.Stream, meetingBacklog),
		ended: make(chan struct{})}
	// Programs rarely use ports this high, so a connection by mistake is improbable.
	port := uint16(61000 + rand.IntN(4000))
	m, err := join(ctx, cfg.Join, self{program: cfg.Version}, cfg.Congestion, handlers{
		accept: func(s *transport.Stream) { meeting.take(s, port) },
	}, cfg.Logger)
	if err != nil {
		return nil, err
	}
	meeting.m, meeting.at = m, netip.AddrPortFrom(m.client.Self().Addr, port)
	return meeting, nil
}

// take queues an incoming connection for Accept, or refuses it.
func (m *Meeting) take(s *transport.Stream, port uint16) {
	if s.Header().Destination.Port() != port || s.Header().HostAddr.IsValid() {
		_ = s.Answer(transport.StatusRefused)
		return
	}
	if len(m.conns) == cap(m.conns) {
		_ = s.Answer(transport.StatusBusy)
		return
	}
	if s.Answer(transport.StatusOK) != nil {
		s.Reset()
		return
	}
	select {
	case m.conns <- s:
	default: // another goroutine has filled the queue
		s.Reset()
	}
}

// AwaitListed waits until a node is listed under its name.
func (m *Meeting) AwaitListed(ctx context.Context, node uint32) error {
	return m.m.client.AwaitPresence(ctx, node, func(p coordinator.Presence) bool {
		return !p.Unlisted
	})
}

// Addr returns the address to which supervisors connect (Link.To).
func (m *Meeting) Addr() netip.AddrPort { return m.at }

// Accept waits for a connection. It fails with net.ErrClosed after Close.
func (m *Meeting) Accept() (*MeetingConn, error) {
	select {
	case s := <-m.conns:
		return &MeetingConn{s}, nil
	case <-m.ended:
		return nil, net.ErrClosed
	}
}

// Close leaves the network and ends all connections. It must be called only once.
func (m *Meeting) Close() error {
	close(m.ended)
	return m.m.close()
}

// A MeetingConn is a connection that a Meeting has accepted.
type MeetingConn struct{ s *transport.Stream }

// Peer returns the node-ID of the other end.
func (c *MeetingConn) Peer() uint32 { return c.s.Peer() }

// Read implements io.Reader.
func (c *MeetingConn) Read(b []byte) (int, error) { return c.s.Read(b) }

// Write implements io.Writer.
func (c *MeetingConn) Write(b []byte) (int, error) { return c.s.Write(b) }

// Close sends everything that was written, and ends both directions.
func (c *MeetingConn) Close() error { return errors.Join(c.s.CloseWrite(), c.s.CloseRead()) }
