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

// MeetConfig says where a meeting is.
type MeetConfig struct {
	Join    coordinator.JoinURL
	Version string // of boxer, for who asks about the network
	Logger  *slog.Logger

	Congestion transport.Congestion // of the connections
}

// A Meeting is a member of the network to which supervisors connect, see Link. It is how
// a launcher controls programs on machines that nobody can connect to. Whoever is in the
// network can connect to it: the first bytes must prove who it is.
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
	// A port above those that programs use makes a mistaken connect improbable.
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

// take queues a connection.
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
	default: // another took the last place
		s.Reset()
	}
}

// Addr returns the address for links.
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

// Close leaves the network; connections end. It is called once.
func (m *Meeting) Close() error {
	close(m.ended)
	return m.m.close()
}

// A MeetingConn is a connection of a meeting.
type MeetingConn struct{ s *transport.Stream }

// Peer returns the id of the node at the other end.
func (c *MeetingConn) Peer() uint32 { return c.s.Peer() }

// Read implements io.Reader.
func (c *MeetingConn) Read(b []byte) (int, error) { return c.s.Read(b) }

// Write implements io.Writer.
func (c *MeetingConn) Write(b []byte) (int, error) { return c.s.Write(b) }

// Close sends what is written, and ends both directions.
func (c *MeetingConn) Close() error { return errors.Join(c.s.CloseWrite(), c.s.CloseRead()) }
