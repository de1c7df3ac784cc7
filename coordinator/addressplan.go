package coordinator

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The default prefixes of a network. The IPv6 prefix is a unique local one (RFC 4193).
// Its global ID spells "oxer".
var (
	DefaultPrefix  = netip.MustParsePrefix("10.111.0.0/16")
	DefaultPrefix6 = netip.MustParsePrefix("fd6f:7865:72::/64")
)

// maxNodes limits the ids of one network, however large its prefix is.
const maxNodes = 1 << 20

// An addressPlan maps ids to virtual addresses. In the prefix, address 0 is the network
// and address 1 is the coordinator, which programs may take for a gateway. Id n has
// address n+1. The last address is the broadcast address, and no node has it.
type addressPlan struct {
	prefix  netip.Prefix // IPv4
	prefix6 netip.Prefix // the zero value: nodes have no IPv6 addresses
	max     uint32       // ids are 1 to max
}

// reserved is the number of addresses that no node gets: the first two and the last.
const reserved = 3

func newAddressPlan(prefix, prefix6 netip.Prefix) (addressPlan, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix != prefix.Masked() {
		return addressPlan{}, fmt.Errorf("prefix %v: want an IPv4 network such as %v, with no bit set after the prefix length", prefix, DefaultPrefix)
	}
	if prefix6 != (netip.Prefix{}) {
		a := prefix6.Addr()
		if !a.Is6() || a.Is4In6() || prefix6 != prefix6.Masked() || prefix6.Bits() > 96 ||
			!a.IsGlobalUnicast() {
			return addressPlan{}, fmt.Errorf("prefix %v: want an IPv6 network such as %v, of at most 96 bits, with no bit set after the prefix length",
				prefix6, DefaultPrefix6)
		}
	}
	size := min(uint64(maxNodes)+reserved, 1<<(32-prefix.Bits()))
	if size <= reserved {
		return addressPlan{}, fmt.Errorf("prefix %v: it has no room for a node; use a shorter prefix", prefix)
	}
	return addressPlan{prefix, prefix6, uint32(size - reserved)}, nil
}

// addr returns the address of the node with that id, which is from 1 to max.
func (p addressPlan) addr(id uint32) netip.Addr {
	b := p.prefix.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+id+1)
	return netip.AddrFrom4(b)
}

// id is the inverse of addr and addr6. It returns 0 for an address that no node can have.
func (p addressPlan) id(a netip.Addr) uint32 {
	a = a.Unmap()
	if a.Is6() {
		if !p.prefix6.Contains(a) {
			return 0
		}
		b := a.As16()
		four := netip.AddrFrom4([4]byte(b[12:]))
		if id := p.id(four); id != 0 && p.addr6(id) == a {
			return id
		}
		return 0
	}
	if !p.prefix.Contains(a) {
		return 0
	}
	b, base := a.As4(), p.prefix.Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) - binary.BigEndian.Uint32(base[:])
	if n < 2 || n-1 > p.max {
		return 0
	}
	return n - 1
}

// addr6 returns the IPv6 address of the node with that id: the prefix, with the IPv4
// address in the last 32 bits. It returns the zero Addr if the network has no IPv6
// prefix.
func (p addressPlan) addr6(id uint32) netip.Addr {
	if !p.prefix6.IsValid() {
		return netip.Addr{}
	}
	b := p.prefix6.Addr().As16()
	four := p.addr(id).As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}
