package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// ForwardConfig says what to forward where.
type ForwardConfig struct {
	Listen string // ADDR:PORT of this machine
	Name   string // of the node
	Port   uint16 // of the node
	Join   coordinator.JoinURL
	Ready  func(net.Addr) // called when connections are accepted
	Logger *slog.Logger
}

// Forward accepts connections on this machine and forwards each to a node,
// until ctx ends. For that it is a node itself, on which nothing listens.
func Forward(ctx context.Context, cfg ForwardConfig) (err error) {
	shareProcessors()
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	defer l.Close()
	m, err := join(ctx, cfg.Join, "", handlers{
		accept: func(s *transport.Stream) { s.Answer(transport.StatusRefused) },
	}, cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	cfg.Ready(l.Addr())
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			cfg.Logger.Warn("forward", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		conns.Go(func() { m.forward(ctx, c.(*net.TCPConn), cfg) })
	}
}

// forward carries one connection.
func (m *member) forward(ctx context.Context, c *net.TCPConn, cfg ForwardConfig) {
	src := netip.AddrPortFrom(m.client.Self().Addr, c.RemoteAddr().(*net.TCPAddr).AddrPort().Port())
	nodes := m.client.LookupName(cfg.Name)
	err := fmt.Errorf("no node is called %s", cfg.Name)
	for _, to := range nodes {
		var s *transport.Stream
		if s, err = m.open(ctx, transport.Header{Source: src, Destination: netip.AddrPortFrom(to.Addr, cfg.Port)}); err == nil {
			syscalls.Relay(ctx, c, s)
			return
		}
	}
	m.log.Warn("forward", "to", cfg.Name, "port", cfg.Port, "err", err)
	c.SetLinger(0) // the client's connect is done: a reset is the nearest to a refusal
	c.Close()
}
