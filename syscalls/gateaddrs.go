package syscalls

import (
	"math/rand/v2"
	"net/netip"
	"sync"
)

// gateAddrs are the loopback addresses of the supervisor's ends of connections, one for
// each far address. They do not overlap the aliases of nodes. All nodes of a host may use
// the same ones, on ports of their own.
type gateAddrs struct {
	prefix netip.Prefix // of 16 bits

	mu   sync.Mutex
	by   map[netip.AddrPort]uint16 // number of the address, by far address
	ring []netip.AddrPort          // far address of each number, from first on
	next int                       // index in ring
	// first is where this node's numbers begin, so that nodes of one host do not begin
	// with the same addresses.
	first uint16
}

// Addresses of gateAddrs, by the family that the program uses.
var (
	gatePrefix  = netip.MustParsePrefix("127.192.0.0/16")
	gatePrefix6 = netip.MustParsePrefix("127.224.0.0/16")
)

// maxGateAddrs bounds how many addresses are in use at a time. Beyond that, the oldest
// one is assigned anew; connections that use it continue.
const maxGateAddrs = 1 << 14

func newGateAddrs(family role) *gateAddrs {
	g := &gateAddrs{prefix: gatePrefix, first: uint16(rand.Uint32())}
	if family&v6 != 0 {
		g.prefix = gatePrefix6
	}
	return g
}

// of returns the address for the far address dst, the same each time.
func (g *gateAddrs) of(dst netip.AddrPort) netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	if number, ok := g.by[dst]; ok {
		return g.at(number)
	}
	if g.by == nil {
		g.by = make(map[netip.AddrPort]uint16)
	}
	slot := g.next
	if slot == len(g.ring) {
		g.ring = append(g.ring, dst)
	} else {
		delete(g.by, g.ring[slot])
		g.ring[slot] = dst
	}
	g.next = (slot + 1) % maxGateAddrs
	number := g.first + uint16(slot)
	if number == 0 { // the gate's own
		number = g.first + maxGateAddrs
	}
	g.by[dst] = number
	return g.at(number)
}

// at returns the address with the given number.
func (g *gateAddrs) at(number uint16) netip.Addr {
	b := g.prefix.Addr().As4()
	b[2], b[3] = byte(number>>8), byte(number)
	return netip.AddrFrom4(b)
}

// roleOfGate returns the role of an address of any node's gateAddrs.
func roleOfGate(a netip.Addr) (r role, ok bool) {
	switch {
	case gatePrefix.Contains(a):
		return relayEnd, true
	case gatePrefix6.Contains(a):
		return relayEnd | v6, true
	}
	return 0, false
}
