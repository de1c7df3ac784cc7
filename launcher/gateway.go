package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// GatewayConfig has the parameters of Gateway.
type GatewayConfig struct {
	Name string // of the node
	Join coordinator.JoinURL

	// To has the address outside of the network for each port of the node: HOST:PORT.
	To map[uint16]string

	Version string           // of boxer; boxer status shows it
	Ready   func(netip.Addr) // called with the node's address when it can be reached
	Logger  *slog.Logger

	Congestion transport.Congestion // of the node's connections
}

// Gateway joins the network as a node whose ports lead to hosts outside of the network,
// until ctx ends. A port without an address refuses connections. If the host outside
// refuses, or cannot be reached, so does the node, with the same error.
func Gateway(ctx context.Context, cfg GatewayConfig) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	ready := make(chan struct{})
	g := &gateway{cfg: cfg}
	g.m, err = join(ctx, cfg.Join, self{name: cfg.Name, program: cfg.Version},
		cfg.Congestion, handlers{accept: func(s *transport.Stream) {
			<-ready
			if g.m == nil {
				s.Reset()
				return
			}
			conns.Add(1)
			defer conns.Done()
			g.carry(ctx, s)
		}}, cfg.Logger)
	close(ready)
	if err != nil {
		return err
	}
	cfg.Ready(g.m.client.Self().Addr)
	<-ctx.Done()
	return g.m.close()
}

type gateway struct {
	cfg GatewayConfig
	m   *member
}

// carry connects a stream of another node with the host outside.
func (g *gateway) carry(ctx context.Context, s *transport.Stream) {
	h := s.Header()
	to, ok := g.cfg.To[h.Destination.Port()]
	if !ok || h.HostAddr.IsValid() {
		_ = s.Answer(transport.StatusRefused)
		return
	}
	dial, cancel := context.WithTimeout(ctx, acceptWithin)
	stop := s.OnStopSending(cancel) // the program over there has given up
	var d net.Dialer
	conn, err := d.DialContext(dial, "tcp", to)
	stop()
	cancel()
	if err != nil {
		g.cfg.Logger.Warn("gateway: connection failed", "from", h.Source, "to", to, "err", err)
		_ = s.Answer(statusOf(syscalls.Errno(err)))
		return
	}
	if err := s.Answer(transport.StatusOK); err != nil {
		conn.Close()
		return
	}
	if err := syscalls.Relay(ctx, conn.(*net.TCPConn),
		g.m.inbounds.follow(s)); err != nil {
		g.cfg.Logger.Warn("gateway: connection failed", "to", to, "err", err)
	}
}

// CheckGateway returns an error for an address that Gateway cannot use.
func CheckGateway(to string) error {
	host, port, err := net.SplitHostPort(to)
	if err != nil || host == "" || port == "" {
		return errors.New("not HOST:PORT, such as 10.0.0.5:5432")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%s: unknown port", port)
	}
	return nil
}
