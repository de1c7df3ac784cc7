package natlab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// uplink is the link towards the internet, in a host and in a router.
const uplink = "eth0"

// A gateway has the same address on all links, which link-local addresses allow (RFC
// 3927). A router's address differs from that of its own next hop. Otherwise the router
// would treat the next hop's ARP requests as forged.
const (
	internetHop = "169.254.0.1"
	routerHop   = "169.254.0.2"
)

// A gateway is a namespace that routes between its links: the internet, or a router. Each
// link has the name of the namespace at its other end.
type gateway struct {
	ns  *namespace
	hop string // its address on each link

	mu    sync.Mutex // guards rules, their copy in the kernel, and wires
	rules rules
	wires []*wire // of the links with a delay; nil while one is being made
}

// newGateway makes ns a router, and a NAT if nat is not nil.
func newGateway(ctx context.Context, ns *namespace, nat *natRules) (*gateway, error) {
	g := &gateway{ns: ns, hop: internetHop}
	if nat != nil {
		g.hop = routerHop
	}
	if err := ns.sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return nil, fmt.Errorf("natlab: %s: %w", ns.name, err)
	}
	return g, g.change(ctx, func(r *rules) { r.nat = nat })
}

// connect links ns, which has no link yet, to the gateway, and gives it the address.
// delay is how long a packet takes, each way.
func (g *gateway) connect(ctx context.Context, ns *namespace, addr netip.Addr,
	delay time.Duration) error {
	err := g.link(ctx, ns, delay)
	if err != nil {
		return fmt.Errorf("natlab: connect %s to %s: %w", ns.name, g.ns.name, err)
	}
	err = g.ns.ip(ctx,
		fmt.Sprintf("address add %s/32 dev %s", g.hop, ns.name),
		fmt.Sprintf("link set dev %s up", ns.name),
		fmt.Sprintf("route add %s dev %s", addr, ns.name))
	if err != nil {
		return fmt.Errorf("natlab: connect %s to %s: %w", ns.name, g.ns.name, err)
	}
	err = ns.ip(ctx,
		fmt.Sprintf("address add %s/32 dev %s", addr, uplink),
		fmt.Sprintf("link set dev %s up", uplink),
		fmt.Sprintf("route add %s dev %s", g.hop, uplink),
		fmt.Sprintf("route add default via %s dev %s", g.hop, uplink))
	if err != nil {
		return fmt.Errorf("natlab: connect %s to %s: %w", ns.name, g.ns.name, err)
	}
	return nil
}

// link makes the two ends of a link.
func (g *gateway) link(ctx context.Context, ns *namespace, delay time.Duration) error {
	if delay > 0 {
		return g.connectLong(ctx, ns, delay)
	}
	return g.ns.ip(ctx, fmt.Sprintf("link add name %s type veth peer name %s netns %s",
		ns.name, uplink, ns.path()))
}

// change changes the rules and loads all of them into the kernel in one transaction.
func (g *gateway) change(ctx context.Context, f func(*rules)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.rules)
	text := g.rules.String()
	if err := g.ns.do(func() error { return run(ctx, text, "nft", "-f", "-") }); err != nil {
		return fmt.Errorf("natlab: rules of %s: %w", g.ns.name, err)
	}
	return nil
}

// rules describe what a gateway does with packets besides routing.
type rules struct {
	blocked map[string]bool // links that carry nothing
	// pairs of source and destination whose packets are dropped
	cut  map[[2]netip.Addr]bool
	loss map[string]float64 // by link: the share of packets that is lost, each way
	nat  *natRules          // nil: no NAT
}

// natRules are the additional rules of a router with a NAT.
type natRules struct {
	masquerade string                // the statement, see nft(8)
	forward    map[uint16]netip.Addr // ports that are forwarded to hosts behind the NAT
	reset      bool                  // see NAT.Reset
	blackHole  int                   // see NAT.BlackHole
}

// lossScale is the resolution of the loss rate.
const lossScale = 10000

// String returns the rules in the language of nft(8). They replace the previous rules.
// String sorts them, so that equal rules give equal text.
func (r *rules) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("table ip lab\ndelete table ip lab\ntable ip lab {")
	line("chain forward {\ntype filter hook forward priority filter; policy accept;")
	for _, link := range slices.Sorted(maps.Keys(r.blocked)) {
		line("iifname %q drop\noifname %q drop", link, link)
	}
	for _, pair := range slices.SortedFunc(maps.Keys(r.cut), comparePairs) {
		line("ip saddr %s ip daddr %s drop", pair[0], pair[1])
	}
	for _, link := range slices.Sorted(maps.Keys(r.loss)) {
		if last := int(r.loss[link]*lossScale) - 1; last >= 0 {
			line("iifname %q numgen random mod %d <= %d drop", link, lossScale, last)
			line("oifname %q numgen random mod %d <= %d drop", link, lossScale, last)
		}
	}
	if r.nat != nil {
		r.nat.write(line)
	} else {
		line("}")
	}
	line("}")
	return b.String()
}

// write completes the forward chain, and writes the other chains of a NAT.
func (n *natRules) write(line func(format string, args ...any)) {
	if n.blackHole > 0 {
		line("ip length > %d drop", n.blackHole)
	}
	line("iifname != %q accept\nct state established,related accept\nct status dnat accept\ndrop\n}", uplink)
	// Drop the packet, and do not reject it. If the kernel answered, it would also track
	// the packet as a connection of its own, and a host's packet in the other direction
	// would get another port.
	line("chain input {\ntype filter hook input priority filter; policy drop;")
	if n.reset {
		line("meta l4proto tcp reject with tcp reset")
	}
	line("}")
	line("chain prerouting {\ntype nat hook prerouting priority dstnat;")
	for _, port := range slices.Sorted(maps.Keys(n.forward)) {
		line("iifname %q meta l4proto { tcp, udp } th dport %d dnat to %s", uplink, port,
			n.forward[port])
	}
	line("}\nchain postrouting {\ntype nat hook postrouting priority srcnat;")
	line("oifname %q meta l4proto { tcp, udp } %s\noifname %q masquerade\n}", uplink,
		n.masquerade, uplink)
}

// set adds key to the set, or removes it.
func set[K comparable](m *map[K]bool, key K, on bool) {
	if *m == nil {
		*m = make(map[K]bool)
	}
	if on {
		(*m)[key] = true
	} else {
		delete(*m, key)
	}
}

func comparePairs(a, b [2]netip.Addr) int {
	if c := a[0].Compare(b[0]); c != 0 {
		return c
	}
	return a[1].Compare(b[1])
}
