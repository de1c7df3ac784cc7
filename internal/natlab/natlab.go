// Package natlab builds hosts and NATs from network namespaces, for tests and for the
// demo.
//
// A Lab is a small internet. One namespace routes. Hosts with public addresses are
// connected to it, and routers with hosts behind them. All links are IPv4 and point to
// point, so a packet between two hosts passes every router in between, as on the real
// internet.
//
//	Public ── internet ──┬── Router ── Host
//	                     └── Router ── Host
//
// A program uses it from Inside, a test package from Main. Both put the whole process
// into new namespaces, so nothing that a lab makes outlives the process, however the
// process ends.
//
//	func TestMain(m *testing.M) { natlab.Main(m) }
//
//	func TestPing(t *testing.T) {
//		lab := natlab.ForTest(t)
//		server, err := lab.Public("server")
//		client, err := lab.NATed("client", natlab.NAT{})
//		out, err := client.Command(t.Context(), "ping", "-c1", server.Addr().String()).CombinedOutput()
//	}
//
// The terms for NATs are those of RFC 4787. The lab needs the commands ip and tc
// (iproute2) and nft (nftables).
package natlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
)

// The lab's addresses come from the blocks for documentation (RFC 5737), which no real
// network uses, and from private blocks (RFC 1918).
var (
	publicHosts = netip.MustParseAddr("203.0.113.10") // the first Public host
	// the outside of the first Router
	publicRouters = netip.MustParseAddr("198.51.100.10")
)

// perBlock bounds the hosts of a lab, and its routers: the addresses of a /24 from .10
// on.
const perBlock = 240

// A Lab is a small internet. Its methods may be called from any goroutine.
type Lab struct {
	internet *gateway

	mu         sync.Mutex // guards what follows
	namespaces []*namespace
	names      map[string]bool
	hosts      int // public ones
	routers    int
	closed     bool
}

// tools are the commands that a lab runs.
var tools = []string{"ip", "tc", "nft"}

// New makes an internet without hosts. It fails if Inside has not put the process into
// its own namespaces, or if a command is missing. Close ends the lab.
func New(ctx context.Context) (*Lab, error) {
	if !inside() {
		return nil, errors.New("natlab: the process has no namespaces of its own: call Main from TestMain, or Inside")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("natlab: %w (Debian packages iproute2 and nftables)", err)
		}
	}
	l := &Lab{names: map[string]bool{"lo": true, uplink: true}}
	ns, err := l.namespace(ctx, "internet")
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.internet, err = newGateway(ctx, ns, nil)
	if err == nil {
		// Packets to an unused address are dropped without an answer, as most are on the
		// real internet.
		err = ns.ip(ctx, "route add blackhole default")
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close kills every remaining process in the lab and removes the lab's namespaces. It may
// be called more than once.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	err := killAll(l.namespaces)
	if l.internet != nil {
		err = errors.Join(err, l.internet.closeWires())
	}
	for _, ns := range l.namespaces {
		ns.close()
	}
	return err
}

// Public adds a host with a public address. The internet routes between such hosts
// without a NAT.
func (l *Lab) Public(ctx context.Context, name string) (*Host, error) {
	l.mu.Lock()
	n := l.hosts
	l.hosts++
	l.mu.Unlock()
	if n >= perBlock {
		return nil, fmt.Errorf("natlab: host %s: no public address is left", name)
	}
	return l.attach(ctx, l.internet, name, nth(publicHosts, n), nil)
}

// NATed adds a host behind its own NAT: it calls Router, and then Host on the router.
func (l *Lab) NATed(ctx context.Context, name string, nat NAT) (*Host, error) {
	r, err := l.Router(ctx, "nat-"+name, nat)
	if err != nil {
		return nil, err
	}
	return r.Host(ctx, name)
}

// attach makes a host called name with address addr, and connects it to g.
func (l *Lab) attach(ctx context.Context, g *gateway, name string, addr netip.Addr,
	behind *Router) (*Host, error) {
	ns, err := l.namespace(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := g.connect(ctx, ns, addr, 0); err != nil {
		return nil, err
	}
	return &Host{lab: l, ns: ns, up: g, addr: addr, router: behind}, nil
}

// validName matches names that are valid for a host and for an interface. The kernel
// allows interface names of up to 15 bytes (netdevice(7)).
var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`)

// namespace makes a namespace that the lab owns. Its name is also the hostname and the
// name of the link to it.
func (l *Lab) namespace(ctx context.Context, name string) (*namespace, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("natlab: name %q: want 1 to 15 characters of a-z, 0-9 and -, the first a letter", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, fmt.Errorf("natlab: host %s: %w", name, os.ErrClosed)
	case l.names[name]:
		return nil, fmt.Errorf("natlab: host %s: %w", name, os.ErrExist)
	}
	ns, err := newNamespace(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("natlab: host %s: %w", name, err)
	}
	l.names[name] = true
	l.namespaces = append(l.namespaces, ns)
	return ns, nil
}

// nth returns the address n after first.
func nth(first netip.Addr, n int) netip.Addr {
	for range n {
		first = first.Next()
	}
	return first
}

// run runs a command in the namespace of the calling thread, with stdin as its input. The
// error contains the command, its input and its output.
func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s <<<%q: %w: %s", strings.Join(cmd.Args, " "), stdin, err,
			strings.TrimSpace(string(out)))
	}
	return nil
}
