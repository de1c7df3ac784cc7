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

// ForwardConfig has the parameters of Forward.
type ForwardConfig struct {
	Listen string // ADDR:PORT of this machine
	Name   string // of the node
	Port   uint16 // of the node
	Join   coordinator.JoinURL

	Wait    bool   // for a node of that name; without Wait, a missing node is an error
	Version string // of boxer; boxer status shows it

	Ready  func(net.Addr) // called when Forward accepts connections
	Logger *slog.Logger

	Congestion transport.Congestion // of the connections to the node
}

// Forward accepts connections on this machine and forwards each to a node, until ctx
// ends. It joins the network as a node without listeners.
func Forward(ctx context.Context, cfg ForwardConfig) (err error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	defer l.Close()
	m, err := join(ctx, cfg.Join, self{program: cfg.Version}, cfg.Congestion, handlers{
		accept: func(s *transport.Stream) { s.Answer(transport.StatusRefused) },
	}, cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.find(ctx, cfg); err != nil {
		return err
	}
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
			cfg.Logger.Warn("forward: accept failed; trying again", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		conns.Go(func() { m.forward(ctx, c.(*net.TCPConn), cfg) })
	}
}

// find checks that the network has the node, and waits for the node if cfg.Wait is set.
func (m *member) find(ctx context.Context, cfg ForwardConfig) error {
	a, err := netip.ParseAddr(cfg.Name)
	switch {
	case err == nil:
		prefix, prefix6 := m.client.Prefix(), m.client.Prefix6()
		if a = a.Unmap(); !prefix.Contains(a) &&
			!(prefix6.IsValid() && prefix6.Contains(a)) {
			return fmt.Errorf("forward to %s: the address is not in the network %v",
				cfg.Name, prefix)
		}
		return nil
	case m.client.Count(cfg.Name) > 0:
		return nil
	case !cfg.Wait:
		return fmt.Errorf("forward to %s: no node has that name; boxer status lists the nodes, and --wait waits for one", cfg.Name)
	}
	err = waitFor(ctx, m.client, WaitFor{Name: cfg.Name, Count: 1}, cfg.Logger)
	if ctx.Err() != nil {
		return nil // the caller has ended Forward
	}
	return err
}

// forward carries one connection.
func (m *member) forward(ctx context.Context, c *net.TCPConn, cfg ForwardConfig) {
	port := c.RemoteAddr().(*net.TCPAddr).AddrPort().Port()
	err := fmt.Errorf("no node has the name %s", cfg.Name)
	for _, h := range m.headers(cfg, port) {
		var s *transport.Stream
		if s, err = m.open(ctx, h); err == nil {
			if err := syscalls.Relay(ctx, c, m.inbounds.follow(s)); err != nil {
				m.log.Warn("forward: connection failed", "to", cfg.Name, "port", cfg.Port, "err", err)
			}
			return
		}
	}
	m.log.Warn("forward: connection failed", "to", cfg.Name, "port", cfg.Port, "err", err)
	c.SetLinger(0) // too late to refuse the client's connect: reset the connection
	c.Close()
}

// headers returns the destinations to try, in order. A name gives each of its nodes at
// its IPv4 and its IPv6 address, because programs may listen at only one of them. An
// address gives itself.
func (m *member) headers(cfg ForwardConfig, port uint16) (hs []transport.Header) {
	self := m.client.Self()
	add := func(src, dst netip.Addr) {
		if src.IsValid() && dst.IsValid() {
			hs = append(hs, transport.Header{Source: netip.AddrPortFrom(src, port),
				Destination: netip.AddrPortFrom(dst, cfg.Port)})
		}
	}
	if a, err := netip.ParseAddr(cfg.Name); err == nil {
		if a = a.Unmap(); a.Is4() {
			add(self.Addr, a)
		} else {
			add(self.Addr6, a.WithZone(""))
		}
		return hs
	}
	for _, to := range m.client.LookupName(cfg.Name) {
		add(self.Addr, to.Addr)
		add(self.Addr6, to.Addr6)
	}
	return hs
}
