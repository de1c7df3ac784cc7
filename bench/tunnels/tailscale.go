package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"tailscale.com/ipn/store/mem"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// tailscale is Tailscale in user space: package tsnet. It joins the control server and
// punches its own path. An address is NAME@HOST:PORT: HOST:PORT is the control server,
// and NAME is a name that the two nodes share.
type tailscale struct{}

const tsPort = 80

// tsAddr splits an address.
func tsAddr(addr string) (name, control string, err error) {
	name, control, ok := strings.Cut(addr, "@")
	if !ok {
		return "", "", fmt.Errorf("address %q: want NAME@HOST:PORT", addr)
	}
	return name, control, nil
}

// Listen implements over.Network.
func (tailscale) Listen(ctx context.Context, addr string) (meter.Listener, error) {
	name, control, err := tsAddr(addr)
	if err != nil {
		return nil, err
	}
	s, err := tsUp(ctx, name+"-server", control)
	if err != nil {
		return nil, err
	}
	l, err := s.Listen("tcp", fmt.Sprintf(":%d", tsPort))
	if err != nil {
		return nil, err
	}
	return listener{l}, nil
}

// Dialer implements over.Network. It waits until the path is direct.
func (tailscale) Dialer(ctx context.Context, addr string) (meter.Dialer, error) {
	name, control, err := tsAddr(addr)
	if err != nil {
		return nil, err
	}
	s, err := tsUp(ctx, name+"-client", control)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server, err := tsDirect(ctx, s, name+"-server")
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(server, tsPort).String()
	return func(ctx context.Context) (meter.Conn, error) {
		c, err := s.Dial(ctx, "tcp", to)
		if err != nil {
			return nil, err
		}
		return halfCloser(c)
	}, nil
}

// tsUp starts a node and waits until it has joined.
func tsUp(ctx context.Context, name, control string) (*tsnet.Server, error) {
	os.Setenv("TS_NO_LOGS_NO_SUPPORT", "true") // logs would go to Tailscale
	dir, err := os.MkdirTemp("", "tsnet-")
	if err != nil {
		return nil, err
	}
	s := &tsnet.Server{
		Dir: dir, Store: new(mem.Store), Hostname: name, Ephemeral: true,
		ControlURL: "http://" + control, UserLogf: logger.Discard,
	}
	_, err = s.Up(ctx)
	return s, err
}

// tsDirect returns the server's address when the path to it is direct.
func tsDirect(ctx context.Context, s *tsnet.Server, server string) (netip.Addr, error) {
	client, err := s.LocalClient()
	if err != nil {
		return netip.Addr{}, err
	}
	for tick := time.Tick(100 * time.Millisecond); ; {
		status, err := client.Status(ctx)
		if err != nil {
			return netip.Addr{}, err
		}
		for _, p := range status.Peer {
			if p.HostName != server || len(p.TailscaleIPs) == 0 {
				continue
			}
			short, cancel := context.WithTimeout(ctx, time.Second)
			pong, err := client.Ping(short, p.TailscaleIPs[0], tailcfg.PingDisco)
			cancel()
			if err == nil && pong.Endpoint != "" {
				return p.TailscaleIPs[0], nil
			}
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return netip.Addr{}, errors.New("no direct path")
		}
	}
}
