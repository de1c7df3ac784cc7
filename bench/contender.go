package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/boxer-sandbox/boxer/bench/over"
	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// A contender carries the meter's bytes between the two functions.
type contender struct {
	name  string
	what  string // for the reader
	lossy bool   // only where packets are lost
	bulk  bool   // measured for transfers; otherwise only for trapped calls
	// an alternative to boxer that users could choose, and that also encrypts
	other bool
	enter func(ctx context.Context, s *scene, port int) (*field, error)
}

// A field is a contender that is ready: its two ends, and the processes whose CPU time is
// measured.
type field struct {
	contender
	client *process
	ends   []*process // with all their descendants
	// the client's connection is a socket of the kernel, and represents such sockets
	syscall bool
	udp     string // where the client reaches the server's UDP socket; empty: nowhere
	host    string // the server's name, which name servers know; empty: none
	note    string // such as the path
}

// The contender that the others are compared with, boxer, and a contender that is not
// measured completely.
const (
	nativeName  = "native"
	boxerName   = "boxer"
	directName  = "boxer direct"
	proxiesName = "proxies"
)

// contenders are the contenders in the order of the report.
var contenders = []contender{
	{name: nativeName, what: "kernel TCP", bulk: true, enter: enterNative},
	{name: "native cubic", what: "kernel TCP with CUBIC, where the host has another default", lossy: true, bulk: true, enter: enterCubic},
	{name: boxerName, what: "boxer run, the same program", bulk: true, enter: enterBoxer},
	{name: directName, what: "boxer run where the owner allows bytes in the clear: kernel TCP, which boxer has agreed", bulk: true, enter: enterDirect},
	{name: "quic-go", what: "plain quic-go, streams of one connection", bulk: true,
		enter: enterQUIC},
	{name: proxiesName, what: "kernel TCP through a proxy at each end", bulk: true,
		enter: enterProxies},
	{name: "tailscale", other: true, what: "Tailscale's tsnet, in user space", bulk: true,
		enter: enterTailscale},
	{name: "wireguard-go", other: true, what: "wireguard-go with netstack, in user space",
		bulk: true, enter: enterWireGuard},
	{name: "C supervisor", what: "least supervisor, kernel TCP", enter: enterSupervisor},
	{name: "strace", what: "strace -f --seccomp-bpf of the calls that are measured, kernel TCP", enter: enterStrace},
}

// firstPort is the port of the first contender. Each contender has its own port.
const firstPort = 7000

// enter starts the contenders.
func (s *scene) enter(ctx context.Context, o options) ([]*field, error) {
	var fields []*field
	for i, c := range contenders {
		if !o.wants(c.name) || !c.bulk && !s.whole || c.lossy && s.loss == 0 {
			continue
		}
		f, err := c.enter(ctx, s, firstPort+i)
		if err != nil {
			return nil, fmt.Errorf("contender %s: %w", c.name, err)
		}
		if f == nil {
			continue
		}
		f.contender = c
		fields = append(fields, f)
	}
	return fields, s.limit(ctx)
}

// wants reports whether a contender is to be measured.
func (o options) wants(name string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), name)
}

// forwarded forwards a port of the server's NAT to the server, and returns the address to
// connect to.
func (s *scene) forwarded(ctx context.Context, port int) (string, error) {
	if err := s.server.Router().Forward(ctx, uint16(port), s.server); err != nil {
		return "", err
	}
	return net.JoinHostPort(s.server.External().String(), strconv.Itoa(port)), nil
}

func anyAddr(port int) string { return "0.0.0.0:" + strconv.Itoa(port) }

func enterNative(ctx context.Context, s *scene, port int) (*field, error) {
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	f, err := s.kernelPair(ctx, port, to)
	if f != nil {
		f.udp = to
	}
	return f, err
}

func enterCubic(ctx context.Context, s *scene, port int) (*field, error) {
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	return s.pair(
		s.command(ctx, s.server, s.self, "serve", "tcp-cubic", anyAddr(port)),
		s.command(ctx, s.client, s.self, "client", "tcp-cubic", to))
}

func enterQUIC(ctx context.Context, s *scene, port int) (*field, error) {
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	return s.pair(
		s.command(ctx, s.server, s.self, "serve", "quic", anyAddr(port)),
		s.command(ctx, s.client, s.self, "client", "quic", to))
}

func enterBoxer(ctx context.Context, s *scene, port int) (*field, error) {
	return s.boxed(ctx, port, s.command)
}

// enterDirect has connections that boxer agrees on, and the kernels carry. The first one
// goes over QUIC while boxer tries whether TCP gets through.
func enterDirect(ctx context.Context, s *scene, port int) (*field, error) {
	return s.boxed(ctx, port, s.directCommand)
}

func (s *scene) boxed(ctx context.Context, port int, command func(context.Context,
	*natlab.Host, string, ...string) *exec.Cmd) (*field, error) {
	f, err := s.pair(
		command(ctx, s.server, s.boxer, "run", "--name", "server", "--", s.self,
			"serve", "tcp", anyAddr(port)),
		command(ctx, s.client, s.boxer, "run", "--name", "client", "--wait-for",
			"server", "--",
			s.self, "client", "tcp", net.JoinHostPort("server", strconv.Itoa(port))))
	if err != nil {
		return nil, err
	}
	f.syscall, f.host = true, "server."
	f.udp = net.JoinHostPort("server", strconv.Itoa(port))
	return f, nil
}

// enterProxies starts what people set up by hand: a proxy beside the client, which
// connects to a proxy beside the server.
func enterProxies(ctx context.Context, s *scene, port int) (*field, error) {
	behind := localhost(port + behindProxies)
	ends, err := s.proxies(ctx, port, behind)
	if err != nil {
		return nil, err
	}
	f, err := s.pair(
		s.command(ctx, s.server, s.self, "serve", "tcp", behind),
		s.command(ctx, s.client, s.self, "client", "tcp", behind))
	if err != nil {
		return nil, err
	}
	f.ends = append(f.ends, ends...)
	return f, nil
}

// controlPort is where Tailscale's control server listens on the public host.
const controlPort = 8080

func (s *scene) controlAddr() string {
	return net.JoinHostPort(s.public.Addr().String(), strconv.Itoa(controlPort))
}

// enterTailscale joins two nodes of package tsnet, which punch their path.
func enterTailscale(ctx context.Context, s *scene, _ int) (*field, error) {
	if s.tunnels == "" {
		return nil, nil
	}
	control := s.controlAddr()
	if _, err := s.ready("control", s.command(ctx, s.public, s.tunnels, "control",
		control)); err != nil {
		return nil, err
	}
	f, err := s.pair(
		s.command(ctx, s.server, s.tunnels, "serve", "tailscale", "meter@"+control),
		s.command(ctx, s.client, s.tunnels, "client", "tailscale", "meter@"+control))
	if err != nil {
		return nil, err
	}
	f.note = "punched path"
	return f, nil
}

func enterWireGuard(ctx context.Context, s *scene, port int) (*field, error) {
	if s.tunnels == "" {
		return nil, nil
	}
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	return s.pair(
		s.command(ctx, s.server, s.tunnels, "serve", "wireguard", anyAddr(port)),
		s.command(ctx, s.client, s.tunnels, "client", "wireguard", to))
}

// enterSupervisor starts the native contender with the client under package trap's
// supervisor.
func enterSupervisor(ctx context.Context, s *scene, port int) (*field, error) {
	if s.trap == "" {
		return nil, nil
	}
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	return s.kernelPair(ctx, port, to, s.trap)
}

// enterStrace starts the native contender with the client under strace.
func enterStrace(ctx context.Context, s *scene, port int) (*field, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: without strace:", err)
		return nil, nil
	}
	to, err := s.forwarded(ctx, port)
	if err != nil {
		return nil, err
	}
	return s.kernelPair(ctx, port, to, strace, "-f", "--seccomp-bpf", "-e",
		"trace=getsockname,accept4,connect", "-o", os.DevNull)
}

// kernelPair starts a pair over kernel TCP, with the client as a child of another
// program.
func (s *scene) kernelPair(ctx context.Context, port int, to string,
	below ...string) (*field, error) {
	argv := append(slices.Clip(below), s.self, "client", "tcp", to)
	f, err := s.pair(
		s.command(ctx, s.server, s.self, "serve", "tcp", anyAddr(port)),
		s.command(ctx, s.client, argv[0], argv[1:]...))
	if f != nil {
		f.syscall = true
	}
	return f, err
}

// pair starts a server and then its client, and waits until the client has had a
// connection.
func (s *scene) pair(server, client *exec.Cmd) (*field, error) {
	serve, err := s.start("server", server)
	if err != nil {
		return nil, err
	}
	if _, err := serve.await(over.Ready); err != nil {
		return nil, err
	}
	ask, err := s.start("client", client)
	if err != nil {
		return nil, err
	}
	if err := ask.first(); err != nil {
		return nil, err
	}
	return &field{client: ask, ends: []*process{serve, ask}}, nil
}

// boxerPath returns the kind of path that boxer has found, from boxer status.
func (s *scene) boxerPath(ctx context.Context) (string, error) {
	out, err := s.command(ctx, s.public, s.boxer, "status", "--json").Output()
	if err != nil {
		return "", fmt.Errorf("boxer status: %w", err)
	}
	var status struct {
		Members []struct {
			Name  string `json:"name"`
			Paths []struct {
				Kind   string `json:"kind"`
				Remote string `json:"remote"`
			} `json:"paths"`
		} `json:"members"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return "", fmt.Errorf("boxer status: %w", err)
	}
	for _, m := range status.Members {
		for _, p := range m.Paths {
			if m.Name == "client" {
				return p.Kind, nil
			}
		}
	}
	return "unknown", nil
}
