package coordinator

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
)

// DefaultPrefix is the network's prefix where none is given.
var DefaultPrefix = netip.MustParsePrefix("10.111.0.0/16")

// maxNodes bounds the ids of one network, whatever its prefix has room for.
const maxNodes = 1 << 20

// A plan maps ids to virtual addresses: the prefix's address 0 is the network,
// 1 is the coordinator's (a gateway to programs that look for one), and id n has
// address n+1. IPv4's last address is the broadcast address and stays free.
type plan struct {
	prefix netip.Prefix
	max    uint32 // ids are 1 to max
}

func newPlan(prefix netip.Prefix) (plan, error) {
	if !prefix.IsValid() || prefix != prefix.Masked() {
		return plan{}, fmt.Errorf("prefix %v: want a network such as %v, with no bit set behind its length", prefix, DefaultPrefix)
	}
	reserved := uint64(2)
	if prefix.Addr().Is4() {
		reserved = 3
	}
	size := uint64(maxNodes) + reserved
	if host := prefix.Addr().BitLen() - prefix.Bits(); host < 32 {
		size = min(size, 1<<host)
	}
	if size <= reserved {
		return plan{}, fmt.Errorf("prefix %v: no room for a node; take a shorter one", prefix)
	}
	return plan{prefix, uint32(size - reserved)}, nil
}

// addr returns the address of the node with that id, which is 1 to max.
func (p plan) addr(id uint32) netip.Addr {
	b := p.prefix.Addr().AsSlice()
	if p.prefix.Addr().Is4() {
		base := binary.BigEndian.Uint32(b)
		binary.BigEndian.PutUint32(b, base+id+1)
	} else {
		low, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), uint64(id)+1, 0)
		binary.BigEndian.PutUint64(b[8:], low)
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+carry)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
