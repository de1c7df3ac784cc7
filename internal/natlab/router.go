package natlab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"
)

// Mapping is a NAT's mapping behaviour: which packets of a socket leave the NAT from the
// same port (RFC 4787 section 4.1).
type Mapping int

const (
	// EndpointIndependent means all packets of a socket. So the port that one remote
	// endpoint observes is useful to another.
	EndpointIndependent Mapping = iota
	// Symmetric means the packets to one address and port. RFC 4787 calls this address
	// and port-dependent.
	Symmetric
)

// String returns the RFC's term.
func (m Mapping) String() string {
	switch m {
	case EndpointIndependent:
		return "endpoint-independent"
	case Symmetric:
		return "address and port-dependent"
	}
	return "mapping " + strconv.Itoa(int(m))
}

// A NAT configures how a router translates. Its filtering is always address and
// port-dependent (RFC 4787 section 5): an inbound packet passes only if an outbound
// packet went to its source address and port before. The NAT drops all others, unless
// Reset is set, and does not support hairpinning.
type NAT struct {
	Mapping Mapping

	// Timeout is how long a UDP mapping may be idle before it ends. The kernel counts
	// whole seconds. Zero keeps the kernel's default: 30 s, and 120 s after packets in
	// both directions (nf_conntrack-sysctl).
	Timeout time.Duration

	// Delay is how long a packet takes between the router and the internet, each way.
	Delay time.Duration

	// Reset makes the router answer an unsolicited TCP segment with RST, against RFC 5382
	// section 4.3. Otherwise it drops the segment.
	Reset bool

	// BlackHole is the size in bytes of the largest packet that the router forwards. It
	// drops larger ones and tells nobody (RFC 2923 section 2.1). Zero: it forwards all.
	// The hosts have to send packets one by one for that, see Host.SendSingly.
	BlackHole int
}

// A Router is a NAT and the private network behind it.
type Router struct {
	lab  *Lab
	g    *gateway
	addr netip.Addr
	nat  NAT

	mu      sync.Mutex // guards what follows
	lan     netip.Addr // the address of the next host
	rebinds int
}

// Router adds a NAT with a public address and no hosts behind it.
func (l *Lab) Router(ctx context.Context, name string, nat NAT) (*Router, error) {
	l.mu.Lock()
	n := l.routers
	l.routers++
	l.mu.Unlock()
	if n >= perBlock {
		return nil, fmt.Errorf("natlab: router %s: no public address is left", name)
	}
	ns, err := l.namespace(ctx, name)
	if err != nil {
		return nil, err
	}
	r := &Router{lab: l, addr: nth(publicRouters, n), nat: nat,
		lan: netip.AddrFrom4([4]byte{192, 168, byte(n + 1), 2})}
	if err := l.internet.connect(ctx, ns, r.addr, nat.Delay); err != nil {
		return nil, err
	}
	if r.g, err = newGateway(ctx, ns, &natRules{masquerade: r.masquerade(),
		reset: nat.Reset, blackHole: nat.BlackHole}); err != nil {
		return nil, err
	}
	return r, r.setTimeout()
}

// masquerade returns the nft(8) statement that translates. Without an option it keeps the
// port if it can.
func (r *Router) masquerade() string {
	s := "masquerade"
	if r.rebinds > 0 {
		// Use another range each time. find_appropriate_src in the kernel's
		// net/netfilter/nf_nat_core.c still gives all packets of a socket the same port.
		first := 20000 + r.rebinds%4*10000
		s += fmt.Sprintf(" to :%d-%d", first, first+9999)
	}
	if r.nat.Mapping == Symmetric {
		s += " fully-random"
	}
	return s
}

// setTimeout sets the NAT's timeout in the kernel. The rules must have been loaded
// before, because the kernel parameters appear with them.
func (r *Router) setTimeout() error {
	if r.nat.Timeout == 0 {
		return nil
	}
	seconds := strconv.Itoa(int(max(r.nat.Timeout, time.Second) / time.Second))
	for _, name := range []string{"nf_conntrack_udp_timeout",
		"nf_conntrack_udp_timeout_stream"} {
		if err := r.g.ns.sysctl("net/netfilter/"+name, seconds); err != nil {
			return fmt.Errorf("natlab: router %s: %w", r.g.ns.name, err)
		}
	}
	return nil
}

// Addr returns the router's public address.
func (r *Router) Addr() netip.Addr { return r.addr }

// Host adds a host behind the router. Hosts behind one router reach each other's private
// addresses.
func (r *Router) Host(ctx context.Context, name string) (*Host, error) {
	r.mu.Lock()
	addr := r.lan
	r.lan = r.lan.Next()
	r.mu.Unlock()
	if addr.As4()[3] == 255 {
		return nil, fmt.Errorf("natlab: host %s: no private address is left", name)
	}
	return r.lab.attach(ctx, r.g, name, addr, r)
}

// Forward forwards the router's public TCP and UDP port to the same port of a host behind
// it.
func (r *Router) Forward(ctx context.Context, port uint16, to *Host) error {
	if to.router != r {
		return fmt.Errorf("natlab: forward port %d to %s: %w", port, to.Name(),
			os.ErrInvalid)
	}
	return r.g.change(ctx, func(rules *rules) {
		if rules.nat.forward == nil {
			rules.nat.forward = make(map[uint16]netip.Addr)
		}
		rules.nat.forward[port] = to.addr
	})
}

// Rebind deletes every mapping, as a restarted NAT does, and allocates new ones from
// another range of ports.
func (r *Router) Rebind(ctx context.Context) error {
	r.mu.Lock()
	r.rebinds++
	masquerade := r.masquerade()
	r.mu.Unlock()
	if err := r.g.change(ctx, func(rules *rules) { rules.nat.masquerade = masquerade }); err != nil {
		return err
	}
	if err := r.g.ns.do(flushConntrack); err != nil {
		return fmt.Errorf("natlab: rebind %s: %w", r.g.ns.name, err)
	}
	return nil
}
