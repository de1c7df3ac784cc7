package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"

	"github.com/boxer-sandbox/boxer/bench/over"
	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// A way carries an application's connections between the two functions.
type way struct {
	name  string // the contender's name
	enter func(ctx context.Context, s *scene, a app) (*road, error)
}

// A road leads to one application.
type road struct {
	bind    string   // the address at which its server listens
	through []string // command that starts its server
	at      int      // and the port
	host    string   // where its clients connect to
	port    int
	client  []string // command that starts the clients
}

var ways = []way{
	{nativeName, roadNative}, {boxerName, roadBoxer}, {proxiesName, roadProxies},
	{"tailscale", roadTailscale},
}

func roadNative(ctx context.Context, s *scene, a app) (*road, error) {
	if _, err := s.forwarded(ctx, a.port); err != nil {
		return nil, err
	}
	return &road{bind: "0.0.0.0", at: a.port, host: s.server.External().String(),
		port: a.port}, nil
}

func roadBoxer(_ context.Context, s *scene, a app) (*road, error) {
	return &road{
		bind: "0.0.0.0", at: a.port, through: []string{s.boxer, "run", "--name", a.name, "--"},
		host: a.name, port: a.port, client: []string{s.boxer, "run", "--"},
	}, nil
}

func roadProxies(ctx context.Context, s *scene, a app) (*road, error) {
	port := a.port + proxyPorts
	if _, err := s.proxies(ctx, port, localhost(a.port+behindProxies)); err != nil {
		return nil, err
	}
	return &road{bind: "127.0.0.1", at: a.port + behindProxies, host: "127.0.0.1",
		port: port + behindProxies}, nil
}

// Ports of an application's ways, which must differ.
const (
	proxyPorts    = 1000
	behindProxies = 100
	tailscaleWay  = 2000
)

// proxies forwards connections from a port of localhost on the client, behindProxies
// above port, to an address on the server.
func (s *scene) proxies(ctx context.Context, port int, target string) ([]*process, error) {
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	var both []*process
	for _, p := range []struct {
		on       *natlab.Host
		from, to string
	}{{s.server, anyAddr(port), target},
		{s.client, localhost(port + behindProxies), to}} {
		proxy, err := s.ready("proxy", s.command(ctx, p.on, s.self, "proxy", p.from, p.to))
		if err != nil {
			return nil, err
		}
		both = append(both, proxy)
	}
	return both, nil
}

// roadTailscale has a forwarder at each end, since tsnet carries only the connections of
// its own process.
func roadTailscale(ctx context.Context, s *scene, a app) (*road, error) {
	control := s.controlAddr()
	if s.tunnels == "" {
		return nil, nil
	}
	at := localhost(a.port + tailscaleWay)
	for _, p := range []struct {
		on   *natlab.Host
		role string
	}{{s.server, "expose"}, {s.client, "reach"}} {
		if _, err := s.ready(p.role, s.command(ctx, p.on, s.tunnels, p.role, "tailscale",
			a.name+"@"+control, at)); err != nil {
			return nil, err
		}
	}
	return &road{bind: "127.0.0.1", at: a.port + tailscaleWay, host: "127.0.0.1",
		port: a.port + tailscaleWay}, nil
}

// ready starts a process and waits until it reports that it is ready.
func (s *scene) ready(name string, cmd *exec.Cmd) (*process, error) {
	p, err := s.start(name, cmd)
	if err == nil {
		_, err = p.await(over.Ready)
	}
	return p, err
}

func localhost(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (r *road) String() string { return fmt.Sprintf("%s:%d", r.host, r.port) }
